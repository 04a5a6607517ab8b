"""Who may ask now: so many at once, so many waiting, so many a minute from one address."""

import math
import time
from collections import deque
from collections.abc import Callable

from backends.serving.replies import ApiError
from llmspec.spec.endpoint import Limits

ADDRESSES = 10_000
"""Addresses remembered; the ones that asked longest ago are forgotten first."""


class Turnstile:
    """Refuses with 429 and says when to come back."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._limits, self._clock = limits, clock
        self._asked: dict[str, deque[float]] = {}
        self.inside = 0

    def pace(self, address: str) -> None:
        """Count a request of this address against its minute."""
        if self._limits.requests_per_minute is None:
            return
        now, times = self._clock(), self._asked.pop(address, deque())
        self._asked[address] = times  # put last: the dict is in the order of asking
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= self._limits.requests_per_minute:
            raise ApiError(
                429,
                f"more than {self._limits.requests_per_minute} requests in a minute from your address",
                code="rate_limit_exceeded",
                retry_after=math.ceil(times[0] + 60 - now),
            )
        times.append(now)
        if len(self._asked) > ADDRESSES:
            del self._asked[next(iter(self._asked))]

    def admit(self, number: int, wait: float = 0.0) -> None:
        """Let so many answers in, or none of them; `wait`: the seconds that the queue takes now."""
        most = self._limits.concurrency + self._limits.queue
        if number > most:
            raise ApiError(400, f"{number} prompts in one request, and at most {most} are taken", param="prompt")
        if self.inside + number > most:
            raise ApiError(429, "all places are taken, and so is the queue", code="queue_full", retry_after=max(1, math.ceil(wait)))
        if wait > self._limits.timeout:  # its time would be up before its turn came
            said = f"the queue takes {wait:.0f} s now, longer than an answer may take (limits.timeout)"
            raise ApiError(429, said, code="queue_full", retry_after=math.ceil(wait - self._limits.timeout))
        self.inside += number

    def leave(self, number: int) -> None:
        self.inside -= number
