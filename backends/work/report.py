"""How work tells the world what it does: progress while it runs, one line when it ends."""

import time
from collections.abc import Callable
from typing import Any, Protocol


class Channel(Protocol):
    """Where a report goes: Dagster Pipes, or a terminal when the door is opened by hand."""

    def progress(self, event: dict[str, Any]) -> None: ...

    def log(self, text: str) -> None: ...


class Report:
    """Given to every work function."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic):
        self._channel, self._clock = channel, clock
        self._started: dict[str, tuple[float, float]] = {}
        self._shown = self._logged = -1e9
        self.summary = ""
        """One line of what came out, set by the work: '9,412 rows → 1.9 M tokens'."""

    def progress(self, done: float, total: float, unit: str, **facts: float | str) -> None:
        """`done` of `total` `unit`s. Facts are shown beside it (loss=1.31); rate and time left are worked out here."""
        now = self._clock()
        first, since = self._started.setdefault(unit, (done, now))
        rate = (done - first) / (now - since) if now > since else 0.0
        if done < total and now - self._shown < 0.1:
            return
        self._shown = now
        left = (total - done) / rate if rate > 0 else None
        self._channel.progress({"done": done, "total": total, "unit": unit, "rate": rate, "left": left, "facts": facts})
        if done >= total or now - self._logged > 5:
            self._logged = now
            said = ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
            )
            self._channel.log(
                f"{done:,.0f}/{total:,.0f} {unit}" + (f" · {rate:,.1f}/s" if rate else "") + (f" · {said}" if said else "")
            )

    def log(self, text: str) -> None:
        """A line for the log, and for Dagster's."""
        self._channel.log(text)
