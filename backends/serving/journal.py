"""The endpoint's memory: one line per request, redacted, written by a thread of its own.

A line is one write to a file opened for appending: a crash leaves at most the last line torn, and two workers (one draining,
one new) can share the file.
"""

import json
import logging
import os
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from llmspec.journal import CURRENT, full_files
from llmspec.redaction import redact

log = logging.getLogger(__name__)

FILE_BYTES = 32 * 2**20
KEEP_FILES = 20
"""Full files kept; with FILE_BYTES this bounds the disk to about 670 MB."""
SECRET_FIELDS = ("question", "answer")
"""What people wrote: redacted before it reaches the disk."""


class Journal:
    """Append-only, rotated by size. Without a folder it forgets everything."""

    def __init__(self, folder: Path | None, file_bytes: int = FILE_BYTES, keep: int = KEEP_FILES):
        self._folder, self._file_bytes, self._keep = folder, file_bytes, keep
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._file = -1
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            self._thread.start()

    def write(self, **entry: Any) -> None:
        """Returns at once; the thread redacts and writes."""
        if self._folder:
            self._lines.put({"time": round(time.time(), 3), **entry})

    def close(self) -> None:
        """Write what is left, down to the disk."""
        if self._folder and self._thread.is_alive():
            self._lines.put(None)
            self._thread.join()

    def _write_all(self) -> None:
        while (entry := self._lines.get()) is not None:
            try:
                self._append(entry)
            except OSError as error:  # a full disk must not end the service: the loss is said in the log
                log.error("journal: a line was lost: %s", error)
                self._shut()
        self._shut()

    def _append(self, entry: dict[str, Any]) -> None:
        entry |= {field: redact(entry[field]) for field in SECRET_FIELDS if entry.get(field)}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"
        file = self._open()
        if os.write(file, line) < len(line):
            raise OSError("the disk took only part of it")

    def _open(self) -> int:
        """The current file, a new one when it is full or another worker has turned it over."""
        assert self._folder
        path = self._folder / CURRENT
        try:
            found = path.stat()
            if found.st_size >= self._file_bytes:
                self._turn_over(path)
            elif self._file >= 0 and os.fstat(self._file).st_ino == found.st_ino:
                return self._file
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._shut()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # whoever wrote before us died in the middle of a line
        return self._file

    def _turn_over(self, path: Path) -> None:
        assert self._folder
        full = full_files(self._folder)
        number = int(full[-1].stem.split("-")[1]) + 1 if full else 1
        path.rename(self._folder / f"journal-{number:06d}.jsonl")
        for old in full[: max(0, len(full) + 1 - self._keep)]:
            old.unlink(missing_ok=True)

    def _shut(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
