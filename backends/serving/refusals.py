"""Refused requests on the audit trail: who knocked in vain. Bounded, so that knocking fills no disk and hides no other line."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from backends.serving.replies import ApiError
from llmspec.audit import Trail

log = logging.getLogger(__name__)

MINUTE = 60.0
A_MINUTE = 10
"""Lines in a minute, from all sources together; from one source there is one."""
SOURCES = 10_000


class Refusals:
    """Written by a thread: nobody waits for the disk. Without a folder they are forgotten."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.monotonic):
        self._trail, self._clock = Trail(folder) if folder else None, clock
        self._last: dict[str, float] = {}
        self._lines: list[float] = []
        self._unsaid = 0
        self._writing: set[asyncio.Future[None]] = set()

    def note(self, source: str, error: ApiError, method: str, path: str) -> None:
        """Once a minute for each source; the next line says how many were left out."""
        now = self._clock()
        self._lines = [at for at in self._lines if at > now - MINUTE]
        if self._trail is None or now - self._last.get(source, -MINUTE) < MINUTE or len(self._lines) >= A_MINUTE:
            self._unsaid += 1
            return
        if len(self._last) >= SOURCES:
            self._last.clear()
        self._last[source] = now
        self._lines.append(now)
        facts = {"status": error.status, "asked": f"{method} {path}"[:200], "why": error.message, "unsaid": self._unsaid}
        self._unsaid = 0
        writing = asyncio.get_running_loop().run_in_executor(None, self._write, self._trail, source, facts)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    def _write(self, trail: Trail, source: str, facts: dict[str, object]) -> None:
        try:
            trail.add("refused", **facts, by=source)
        except OSError as error:  # a full disk must not end the service: the loss is said in the log
            log.error("audit: a line was lost: %s", error)
