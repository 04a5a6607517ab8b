"""Engine events, told to whoever asked with `--event-log`: a file, or a gRPC stream of newer versions."""

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any

from pulumi_engine.values import blinded


class Events:
    """In order, each with its number."""

    def __init__(self, log: str | None) -> None:
        self._log, self._number = log, 0
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._stream, daemon=True) if log and log.startswith("tcp://") else None
        if self._thread:
            self._thread.start()

    def tell(self, **event: Any) -> None:
        self._number += 1
        entry = {"sequence": self._number, "timestamp": int(time.time()), **event}
        if self._thread:
            self._queue.put(entry)
        elif self._log:
            with Path(self._log).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def step(self, kind: str, op: str, state: dict[str, Any] | None, old: dict[str, Any] | None, **more: Any) -> None:
        """`resourcePreEvent` or `resOutputsEvent`."""
        some = state or old
        assert some
        planning = more.pop("planning")
        seen = {"op": op, "urn": some["urn"], "type": some["type"], "provider": some.get("provider", "")}
        seen |= {"old": _shown(old), "new": _shown(state), "logical": True, **more}
        self.tell(**{kind: {"metadata": seen, "planning": planning}})

    def close(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join(10)

    def _stream(self) -> None:
        import grpc
        from pulumi.runtime.proto import events_pb2, events_pb2_grpc

        assert self._log
        with grpc.insecure_channel(self._log.removeprefix("tcp://")) as channel:
            entries = (events_pb2.EventRequest(event=json.dumps(entry)) for entry in iter(self._queue.get, None))
            events_pb2_grpc.EventsStub(channel).StreamEvents(entries)


def _shown(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    names = ("type", "urn", "id", "parent", "provider", "custom", "protect", "retainOnDelete")
    values = {name: blinded(state.get(name) or {}) for name in ("inputs", "outputs")}
    return {name: state[name] for name in names if state.get(name) is not None} | values
