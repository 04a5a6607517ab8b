"""What the journal says of the endpoint: latency, throughput, errors, and which alarms ring.

Plain Python on the last lines of a few files, so that `llmspec status` can ask too.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.expressions import Alarm
from llmspec.journal import MOST_BYTES, backwards
from llmspec.section import format_duration
from llmspec.spec.monitors import Monitors

MINUTE = 60.0
_TIME = re.compile(rb'\{"time": ([0-9.]+), ("feedback")?')
_DISORDER = 60.0
"""Two workers write one journal: lines may be this many seconds out of order."""
Numbers = dict[str, float]


@dataclass(frozen=True)
class Request:
    """One line of the journal, as far as numbers go."""

    time: float
    """When it had been answered, in Unix time."""
    status: int
    seconds: float
    first_token_seconds: float | None
    prompt_tokens: int
    answer_tokens: int

    @property
    def failed(self) -> bool:
        """The endpoint's fault; a request refused with 4xx is the client's, or too many at once."""
        return self.status >= 500

    @classmethod
    def of(cls, line: bytes) -> "Request | None":
        """None for a line that a crash has torn."""
        try:
            entry: Any = json.loads(line)
            first = entry["first_token_seconds"]
            return cls(
                float(entry["time"]),
                int(entry["status"]),
                float(entry["seconds"]),
                None if first is None else float(first),
                int(entry["prompt_tokens"] or 0),
                int(entry["answer_tokens"] or 0),
            )
        except (ValueError, TypeError, KeyError):
            return None


def requests_since(folder: Path, since: float, most_bytes: int = MOST_BYTES) -> tuple[list[Request], bool]:
    """The requests answered since then, oldest first, and whether that is all of them."""
    found: list[Request] = []
    read = 0
    for line in backwards(folder):
        read += len(line) + 1
        request = Request.of(line)
        if request and request.time < since - _DISORDER:
            return _ordered(found, since), True
        if read > most_bytes:
            return _ordered(found, since), False
        if request:
            found.append(request)
    return _ordered(found, since), True


def _ordered(found: list[Request], since: float) -> list[Request]:
    return sorted((request for request in found if request.time >= since), key=lambda request: request.time)


@dataclass(frozen=True)
class Feedback:
    """What people said of answers: the last word on each counts."""

    up: int = 0
    down: int = 0
    corrections: int = 0

    def __str__(self) -> str:
        """'3 up · 1 down · 1 corrected'."""
        parts = [(self.up, "up"), (self.down, "down"), (self.corrections, "corrected")]
        return " · ".join(f"{number:,} {word}" for number, word in parts if number) or "none"


def feedback_since(folder: Path, since: float, most_bytes: int = MOST_BYTES) -> Feedback:
    """The feedback given since then."""
    last: dict[str, dict[str, Any]] = {}
    for entry in _entries_since(folder, since, most_bytes):
        last.setdefault(entry["feedback"], entry)
    ratings = [entry.get("rating") for entry in last.values()]
    return Feedback(ratings.count("up"), ratings.count("down"), sum(bool(entry.get("correction")) for entry in last.values()))


def _entries_since(folder: Path, since: float, most_bytes: int) -> Iterator[dict[str, Any]]:
    """Lines of feedback, the latest first."""
    read = 0
    for line in backwards(folder):
        read += len(line) + 1
        written = _TIME.match(line)
        if read > most_bytes or (written and float(written[1]) < since - _DISORDER):
            return
        if written and written[2]:
            with suppress(ValueError):  # torn by a crash
                entry = json.loads(line)
                if entry["time"] >= since:
                    yield entry


def numbers(requests: Sequence[Request], seconds: float) -> Numbers:
    """What `seconds` of requests come to. What nobody measured is absent: no latency without an answer."""
    found: Numbers = {
        "requests": len(requests),
        "requests_per_minute": len(requests) * MINUTE / seconds,
        "errors": sum(request.failed for request in requests),
        "refused": sum(400 <= request.status < 500 for request in requests),
        "prompt_tokens": sum(request.prompt_tokens for request in requests),
        "answer_tokens": sum(request.answer_tokens for request in requests),
    }
    answered = [request for request in requests if request.status < 400]
    latencies = sorted(request.seconds for request in answered)
    firsts = sorted(request.first_token_seconds for request in answered if request.first_token_seconds is not None)
    if requests:
        found["error_rate"] = found["errors"] / len(requests)
    if latencies:
        found |= {f"p{share}_latency": percentile(latencies, share) for share in (50, 95, 99)}
    if firsts:
        found["p95_first_token"] = percentile(firsts, 95)
    if busy := busy_seconds(answered):
        found["tokens_per_second"] = sum(request.answer_tokens for request in answered) / busy
    return found


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a value that really occurred, and at least `share` percent are no larger."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def busy_seconds(requests: Sequence[Request]) -> float:
    """How long somebody was being answered: an idle endpoint is not a slow one."""
    total, until = 0.0, -math.inf
    for start, end in sorted((request.time - request.seconds, request.time) for request in requests):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


@dataclass(frozen=True)
class Minute:
    """One minute of the journal."""

    start: float
    requests: tuple[Request, ...]

    @property
    def numbers(self) -> Numbers:
        return numbers(self.requests, MINUTE)


def by_minute(requests: Sequence[Request], since: float, now: float) -> list[Minute]:
    """Every minute from `since` to `now`, also those in which nobody asked."""
    groups: dict[int, list[Request]] = {}
    for request in requests:
        groups.setdefault(int(request.time // MINUTE), []).append(request)
    return [
        Minute(number * MINUTE, tuple(groups.get(number, ()))) for number in range(int(since // MINUTE), int(now // MINUTE) + 1)
    ]


@dataclass(frozen=True)
class Ringing:
    """Whether an alarm rings, and the numbers that say so."""

    alarm: str
    ringing: bool
    reason: str


def ringing(alarm: Alarm, minutes: Sequence[Minute], now: float, every: float = 900.0) -> Ringing:
    """With `for 5m`: true in each of the last five whole minutes that had any data. Without: true of the last `every` seconds."""
    if alarm.lasting:
        return _lasting(alarm, minutes, now)
    requests = [request for minute in minutes for request in minute.requests if now - every <= request.time <= now]
    value = numbers(requests, every).get(alarm.metric) if minutes else None
    if value is None:
        return Ringing(alarm.text, False, f"no {alarm.metric} in the last {format_duration(every)}: nobody was answered")
    return Ringing(
        alarm.text, alarm.rings(value), f"{alarm.metric} {said(alarm.metric, value)} over the last {format_duration(every)}"
    )


def _lasting(alarm: Alarm, minutes: Sequence[Minute], now: float) -> Ringing:
    whole = math.floor(now / MINUTE) * MINUTE  # the minute that is not over yet says too little
    start = whole - _judged(alarm)
    values = [minute.numbers.get(alarm.metric) for minute in minutes if start <= minute.start < whole]
    known = [value for value in values if value is not None]
    if not known:
        return Ringing(alarm.text, False, f"no {alarm.metric} in the last {format_duration(alarm.lasting)}: nobody was answered")
    true = [value for value in known if alarm.rings(value)]
    reason = f"true in {len(true)} of {len(known)} minutes with data, at last {alarm.metric} {said(alarm.metric, known[-1])}"
    return Ringing(alarm.text, len(true) == len(known), reason)


def _judged(alarm: Alarm) -> float:
    """Seconds of the whole minutes that it asks for: `for 90s` is two of them."""
    return math.ceil(alarm.lasting / MINUTE) * MINUTE


def said(metric: str, value: float) -> str:
    """A number with its unit."""
    if metric.endswith(("_latency", "_first_token")):
        return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.2f} s"
    return f"{value:.1%}" if metric == "error_rate" else f"{value:,.3g}"


def summary(found: Numbers) -> str:
    """One line: '212 requests · p95 640 ms · 0 errors · 3 refused · 118 tok/s'."""
    parts = [f"{found['requests']:,.0f} requests"]
    if "p95_latency" in found:
        parts.append(f"p95 {said('p95_latency', found['p95_latency'])}")
    parts.append(f"{found['errors']:,.0f} errors")
    if found.get("refused"):
        parts.append(f"{found['refused']:,.0f} refused")
    if "tokens_per_second" in found:
        parts.append(f"{found['tokens_per_second']:,.0f} tok/s")
    return " · ".join(parts)


@dataclass(frozen=True)
class Look:
    """One look at the journal."""

    minutes: list[Minute]
    """Empty when the endpoint has no journal yet."""
    numbers: Numbers
    """Of the last `monitors.every`."""
    alarms: list[Ringing]
    whole: bool
    """False when the journal was too busy to be read as far back as was wanted: the newest requests are counted."""


def horizon(monitors: Monitors, now: float) -> float:
    """As far back as `monitors.every` and the longest alarm want, whose minutes are whole: one more for that which is not over."""
    return now - max([monitors.every, *(_judged(alarm) + MINUTE for alarm in monitors.alarms)])


def look(folder: Path, monitors: Monitors, now: float) -> Look:
    """The journal's last lines, as far back as is wanted."""
    since = horizon(monitors, now)
    requests, whole = requests_since(folder, since)
    minutes = by_minute(requests, since, now) if folder.is_dir() else []
    found = numbers([request for request in requests if request.time >= now - monitors.every], monitors.every)
    return Look(minutes, found, [ringing(alarm, minutes, now, monitors.every) for alarm in monitors.alarms], whole)
