"""What is happening now, for whoever listens in this process: a terminal, a test, nobody."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["started", "progress", "done", "failed", "stopping", "note"]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a stage."""

    stage: str
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def publish(stage: str, kind: Kind, **facts: Any) -> None:
    for listener in list(_listeners):
        listener(Event(stage, kind, facts))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear every event until the block ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
