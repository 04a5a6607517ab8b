"""The endpoint's memory: one line per request and per feedback, as the spec says, written by a thread of its own.

A line is one write to a file opened for appending: a crash leaves at most the last line torn, and two workers (one
draining, one new) can share the file. Turned over every day and when it is full; what is older than the spec keeps is removed.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from backends.serving.guards import credentials
from backends.serving.guards.in_json import masked
from llmspec.journal import ANSWERED, CURRENT, full_files, release_of
from llmspec.redaction import redact
from llmspec.spec.endpoint import DAY
from llmspec.spec.endpoint import Journal as Kept

log = logging.getLogger(__name__)

FILE_BYTES = 32 * 2**20
KEEP_FILES = 20
"""Full files kept, or as many bytes in files of a quiet day; with FILE_BYTES this bounds the disk to about 670 MB, also when
`keep` would take more."""
WRITTEN = ("question", "answer", "comment", "correction")
"""What people wrote, and what they were told: kept as `content` says."""
REMEMBERED = 10_000
"""Answers whose ids are known without looking at the disk."""
UPKEEP_SECONDS = 600.0
"""How often a journal that nobody writes to is looked after: `keep` holds for an idle endpoint too."""
_TIME = re.compile(rb'\{"time": ([0-9.]+)')
Line = tuple[dict[str, Any], "Future[bool]"]
"""What is to be written, and where it is told whether it was."""


class Journal:
    """Append-only. Without a folder it forgets everything but the ids of its last answers."""

    def __init__(
        self,
        folder: Path | None,
        kept: Kept | None = None,
        file_bytes: int = FILE_BYTES,
        keep: int = KEEP_FILES,
        clock: Callable[[], float] = time.time,
    ):
        self._folder, self._kept, self._file_bytes, self._keep = folder, kept or Kept(), file_bytes, keep
        self._clock = clock
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self.lost = 0
        """Lines that could not be written."""
        self._answers: OrderedDict[str, int] = OrderedDict()
        self._looking = threading.Lock()
        self._file, self._day = -1, -1
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._written = False
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines.put(upkeep())  # what has become too old meanwhile goes first
            self._begin()

    def _begin(self) -> None:
        self._written = True
        self._thread.start()

    def write(self, **entry: Any) -> "Future[bool]":
        """Returns at once; the thread redacts and writes, and says whether it could."""
        kept: Future[bool] = Future()
        if entry.get("status") == ANSWERED and "id" in entry:
            self._answers[entry["id"]] = entry.get("release", 0)
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        if self._written:
            self._lines.put(({"time": round(self._clock(), 3), **entry}, kept))
        else:
            kept.set_result(True)  # what shall be forgotten is not lost
        return kept

    def release_of(self, id: str) -> int | None:
        """Which release gave the answer with this id; None when none is known. May read the disk, so ask from a thread."""
        known = self._answers.get(id)
        if known is not None or self._folder is None:
            return known
        with self._looking:  # one look at a time: ids that nobody ever gave cost little, however many are asked for
            return release_of(self._folder, id)

    def close(self) -> None:
        """Write what is left, down to the disk."""
        if self._thread.is_alive():
            self._lines.put(None)
            self._thread.join()

    def _write_all(self) -> None:
        while (line := self._next()) is not None:
            entry, kept = line
            try:
                if entry:
                    self._append(entry)
                else:
                    self._look_after()
            except OSError as error:  # a full disk must not end the service: the loss is said in the log, and counted
                log.error("journal: %s: %s", "a line was lost" if entry else "it was not looked after", error)
                self.lost += bool(entry)
                with contextlib.suppress(OSError):
                    self._shut()
                kept.set_result(False)
            else:
                kept.set_result(True)
        self._shut()

    def _next(self) -> Line | None:
        """The next line; one without an entry when none came for long; None at the end."""
        try:
            return self._lines.get(timeout=UPKEEP_SECONDS)
        except Empty:
            return upkeep()

    def _told(self, text: str) -> str:
        match self._kept.content:
            case "none":
                return ""
            case "full":
                return text
            case "redacted":
                if "\\" in text:  # it may be JSON, or hold some: also a tool's, and what was asked
                    text = masked(text, lambda said: credentials.mask(redact(said)))
                return credentials.mask(redact(text))

    def _redacted(self, entry: dict[str, Any]) -> dict[str, Any]:
        return entry | {field: self._told(entry[field]) for field in WRITTEN if entry.get(field)}

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(self._redacted(entry), ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"
        file = self._open()
        if os.write(file, line) < len(line):
            raise OSError("the disk took only part of it")

    def _open(self) -> int:
        """The current file, a new one when it is full or of yesterday, or another worker has turned it over."""
        assert self._folder
        path = self._folder / CURRENT
        try:
            found = path.stat()
            if self._file >= 0 and os.fstat(self._file).st_ino == found.st_ino and not self._over(found.st_size):
                return self._file
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._shut()
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two workers that turn it over at once would take the same number
            self._file, self._day = _opened(path)
            if self._over(os.fstat(self._file).st_size):
                self._shut()
                self._turn_over(path)
                self._file, self._day = _opened(path)
            self._remove_old()
        if self._day < 0:
            self._day = int(self._clock() // DAY)
        return self._file

    def _over(self, size: int) -> bool:
        return size >= self._file_bytes or -1 < self._day < self._clock() // DAY

    def _look_after(self) -> None:
        """Nobody asks: what is too old goes all the same."""
        assert self._folder
        if (self._folder / CURRENT).exists():
            self._open()

    def _turn_over(self, path: Path) -> None:
        assert self._folder
        full = full_files(self._folder)
        number = int(full[-1].stem.split("-")[1]) + 1 if full else 1
        path.rename(self._folder / f"journal-{number:06d}.jsonl")

    def _remove_old(self) -> None:
        assert self._folder
        oldest, taken = self._clock() - self._kept.keep, 0
        for path in reversed(full_files(self._folder)):
            found = path.stat()
            taken += min(found.st_size, self._file_bytes)  # the last line of a full file goes a little beyond
            if taken > self._keep * self._file_bytes or found.st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _shut(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            try:
                os.fsync(file)
            finally:
                os.close(file)


def upkeep() -> Line:
    """No line: what is too old is to go."""
    return {}, Future()


def _opened(path: Path) -> tuple[int, int]:
    """The file, and the day of its first line; -1 when it is empty."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")  # whoever wrote before us died in the middle of a line
    first = _TIME.match(os.pread(file, 64, 0))
    return file, int(float(first[1]) // DAY) if first else -1
