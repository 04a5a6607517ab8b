"""The audit trail: who made and revoked keys, who deployed what, who was refused. Lines are only ever added.

Each line carries the hash of itself and of the line before, so that a line that was edited, taken out or put in shows. Whoever
may write the file can make the whole chain anew; a copy of its last hash, kept elsewhere, shows that too.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.lock import user

FILE = "audit.jsonl"
START = "0" * 64
_BLOCK = 8192
"""No line is longer."""
_LONGEST_VALUE = 500


@dataclass(frozen=True)
class Trail:
    """The trail of one product at one target."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def add(self, event: str, **facts: Any) -> None:
        """On the disk when this returns. `by` is who runs this process, unless it is said."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size, previous = _end(file)
            short = {name: value[:_LONGEST_VALUE] if isinstance(value, str) else value for name, value in facts.items()}
            entry = {"time": round(time.time(), 3), "event": event, "by": user(), **short}
            line = json.dumps(entry | {"hash": _hash(previous, entry)}).encode() + b"\n"
            _write(file, line, size)
        finally:
            os.close(file)

    def entries(self, since: float = 0.0) -> Iterator[dict[str, Any]]:
        """What happened since then, the oldest first. A line that is no entry is passed over; `broken` names it."""
        for _, entry in self._lines():
            if entry is not None and entry["time"] >= since:
                yield entry

    def broken(self) -> int:
        """The number of the first line that is not as it was written, from 1; 0 when all are."""
        previous = START
        for number, entry in self._lines():
            if entry is None or entry["hash"] != _hash(previous, {name: entry[name] for name in entry if name != "hash"}):
                return number
            previous = entry["hash"]
        return 0

    def _lines(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for number, line in enumerate(file, 1):
                yield number, _entry(line)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        sound = isinstance(entry["hash"], str) and isinstance(entry["time"], float | int)
        return dict(entry) if sound else None
    except (ValueError, TypeError, KeyError):
        return None


def _hash(previous: str, entry: dict[str, Any]) -> str:
    text = json.dumps(entry, sort_keys=True)
    return hashlib.sha256((previous + text).encode()).hexdigest()


def _end(file: int) -> tuple[int, str]:
    """The file's size, and the hash of its last whole line."""
    size = os.fstat(file).st_size
    last = os.pread(file, _BLOCK, max(0, size - _BLOCK)).splitlines()
    known = [entry for entry in map(_entry, last[-2:]) if entry]
    return size, str(known[-1]["hash"]) if known else START


def _write(file: int, line: bytes, size: int) -> None:
    """All of the line or nothing of it, also when the disk is full."""
    if size and os.pread(file, 1, size - 1) != b"\n":
        line = b"\n" + line
    if os.write(file, line) < len(line):
        os.ftruncate(file, size)
        raise OSError("the disk took only part of a line of the audit trail")
    os.fsync(file)
