"""Schemas become grammars one at a time: others, who only talk, need the processor and the threads too. Clients take turns."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from backends.serving.access import too_slow
from backends.serving.fair_queue import FairQueue
from backends.serving.grammar import Grammar
from backends.serving.tempo import mean
from llmspec.spec.endpoint import Limits


@dataclass(eq=False)
class _Job:
    """One schema that waits for its grammar."""

    make: Callable[[], Grammar]
    made: Future[Grammar] = field(default_factory=Future)


class Compiler:
    """Owns the thread that compiles."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._waiting: FairQueue[_Job] = FairQueue()
        self._thread = ThreadPoolExecutor(1, "schemas")
        self._seconds, self._running = 0.0, False
        """What a schema took lately."""

    async def grammar(self, make: Callable[[], Grammar], client: str) -> Grammar:
        """What `make` makes, or 429 when there would be no time left after the wait. Cancelled, what has not begun never will."""
        ahead = [job for job in self._waiting.ahead(client) if not job.made.cancelled()]
        wait = self._seconds * (len(ahead) + self._running)
        if wait > self._limits.timeout:
            raise too_slow("compiling the schemas of those who came before", wait, self._limits)
        job = _Job(make)
        self._waiting.push(client, job)
        self._thread.submit(self._next)
        return await asyncio.wrap_future(job.made)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        job = self._waiting.pop()  # there is one for each time that this is called, not always the one it was called for
        if not job.made.set_running_or_notify_cancel():
            return
        started, self._running = time.monotonic(), True
        try:
            job.made.set_result(job.make())
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            job.made.set_exception(error)
        finally:
            self._running = False
            self._seconds = mean(self._seconds, time.monotonic() - started)
