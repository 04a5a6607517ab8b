"""The end of a container's log in CloudWatch: what was said since it was last looked at."""

from collections.abc import Iterator
from typing import Any

from llmspec.aws import Aws, RefusedError


class Tail:
    """All streams of one job: a job that was interrupted goes on in another."""

    def __init__(self, region: str, group: str, prefix: str):
        self._aws, self._group, self._prefix = Aws(region), group, prefix
        self._streams: dict[str, _Place] = {}

    def new(self) -> Iterator[str]:
        """The lines that came, in order within each stream. A group or stream that is not there yet says nothing."""
        try:
            for name in self._named():
                self._streams.setdefault(name, _Place())
            for name, place in self._streams.items():
                yield from self._since(name, place)
        except RefusedError as error:
            if not error.gone:
                raise

    def _named(self) -> list[str]:
        what = {"logGroupName": self._group, "logStreamNamePrefix": self._prefix}
        return sorted(item["logStreamName"] for item in self._aws.ask("logs", "describe_log_streams", **what)["logStreams"])

    def _since(self, name: str, place: "_Place") -> Iterator[str]:
        while True:
            after = place.token
            said = self._page(name, place)
            place.token = said["nextForwardToken"]
            yield from place.fresh(said["events"])
            if said["nextForwardToken"] == after or not said["events"]:
                return

    def _page(self, name: str, place: "_Place") -> dict[str, Any]:
        what: dict[str, Any] = {"logGroupName": self._group, "logStreamName": name, "startFromHead": True}
        if place.token is not None:
            try:
                return self._aws.ask("logs", "get_log_events", **what, nextToken=place.token)
            except RefusedError as error:
                if not error.code.startswith("InvalidParameter"):
                    raise
        # A token is good for a day. Of a stream that was silent for longer what is known is when it last spoke.
        place.again()
        return self._aws.ask("logs", "get_log_events", **what, startTime=place.time)


class _Place:
    """How far a stream was read."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.time = 0
        """Of its last line, in milliseconds."""
        self._then = 0
        """How many lines it had of that time."""
        self._known = 0
        """How many of those come a second time."""

    def again(self) -> None:
        """It is read from that time on."""
        self._known = self._then

    def fresh(self, events: list[dict[str, Any]]) -> list[str]:
        """The lines that were not read before."""
        lines = []
        for event in events:
            if self._known and event["timestamp"] == self.time:
                self._known -= 1
                continue
            self._then = self._then + 1 if event["timestamp"] == self.time else 1
            self.time = event["timestamp"]
            lines.append(event["message"])
        return lines
