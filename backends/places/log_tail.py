"""The end of a container's log in CloudWatch: what was said since it was last looked at."""

from typing import Any

from backends.places.aws_calls import RefusedError, Service


class Tail:
    """All streams of one job: a job that was interrupted goes on in another."""

    def __init__(self, region: str, group: str, prefix: str):
        self._logs, self._group, self._prefix = Service("logs", region), group, prefix
        self._after: dict[str, str | None] = {}

    def new(self) -> list[str]:
        """The lines that came, in order within each stream. A group or stream that is not there yet says nothing."""
        try:
            for stream in self._streams():
                self._after.setdefault(stream, None)
            return [line for stream in self._after for line in self._since(stream)]
        except RefusedError as error:
            if error.gone:
                return []
            raise

    def _streams(self) -> list[str]:
        what = {"logGroupName": self._group, "logStreamNamePrefix": self._prefix}
        return sorted(item["logStreamName"] for item in self._logs.ask("describe_log_streams", **what)["logStreams"])

    def _since(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            after = self._after[stream]
            what: dict[str, Any] = {"logGroupName": self._group, "logStreamName": stream, "startFromHead": True}
            said = self._logs.ask("get_log_events", **what, **({"nextToken": after} if after else {}))
            lines += [event["message"] for event in said["events"]]
            self._after[stream] = said["nextForwardToken"]
            if said["nextForwardToken"] == after or not said["events"]:
                return lines
