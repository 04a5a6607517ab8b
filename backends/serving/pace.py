"""How much each caller asked in the last minute, and what is left of it."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from backends.serving.replies import ApiError
from llmspec.spec.endpoint import Limits

MINUTE = 60.0
CALLERS = 10_000
"""Callers remembered; the ones that asked longest ago are forgotten first."""


class Window:
    """The last minute of one caller's requests or tokens."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self._events: deque[tuple[float, int]] = deque()

    def add(self, now: float, amount: int) -> None:
        self._events.append((now, amount))
        self.used += amount

    def forget(self, now: float) -> None:
        while self._events and self._events[0][0] <= now - MINUTE:
            self.used -= self._events.popleft()[1]

    def full_for(self, now: float) -> float:
        """Seconds until something is left again; 0 when something is."""
        used = self.used
        for at, amount in self._events:
            if used < self.limit:
                break
            used -= amount
            wait = at + MINUTE - now
        return wait if self.used >= self.limit else 0.0

    def empty_in(self, now: float) -> float:
        """Seconds until all of it is left again."""
        return max(0.0, self._events[-1][0] + MINUTE - now) if self._events else 0.0


class Pace:
    """Refuses with 429 and says when to come back. Each worker counts for itself: after a swap the minute begins anew."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        wanted = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        self._limits = {what: limit for what, limit in wanted.items() if limit is not None}
        self._clock = clock
        self._callers: dict[str, dict[str, Window]] = {}

    def enter(self, caller: str) -> None:
        """Count a request, or refuse it."""
        if not self._limits:
            return
        now, windows = self._clock(), self._windows(caller)
        for what, window in windows.items():
            if wait := window.full_for(now):
                said = f"more than {window.limit} {what} in a minute from you (endpoint.limits.{what}_per_minute)"
                raise ApiError(429, said, code="rate_limit_exceeded", retry_after=math.ceil(wait))
        if "requests" in windows:
            windows["requests"].add(now, 1)

    def spend(self, caller: str, tokens: int) -> None:
        """What an answer came to, once it has ended."""
        if tokens and "tokens" in self._limits:
            self._windows(caller)["tokens"].add(self._clock(), tokens)

    def headers(self, caller: str) -> Iterator[tuple[bytes, bytes]]:
        """OpenAI's words for what is left."""
        if not self._limits:
            return
        now = self._clock()
        for what, window in self._windows(caller).items():
            yield f"x-ratelimit-limit-{what}".encode(), str(window.limit).encode()
            yield f"x-ratelimit-remaining-{what}".encode(), str(max(0, window.limit - window.used)).encode()
            yield f"x-ratelimit-reset-{what}".encode(), f"{window.empty_in(now):.0f}s".encode()

    def _windows(self, caller: str) -> dict[str, Window]:
        windows = self._callers.pop(caller, None) or {what: Window(limit) for what, limit in self._limits.items()}
        self._callers[caller] = windows  # put last: the dict is in the order of asking
        if len(self._callers) > CALLERS:
            del self._callers[next(iter(self._callers))]
        for window in windows.values():
            window.forget(self._clock())
        return windows
