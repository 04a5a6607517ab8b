"""The journal as a reader finds it: one JSON line per request or feedback, in files that only grow. No reader stops the writer.

`journal.jsonl` is being written; `journal-000001.jsonl` and so on are full, the lower number the older. A crash can tear
the last line of a file, so a line that is no JSON is passed over.
"""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

CURRENT = "journal.jsonl"
MOST_BYTES = 64 * 2**20
"""The most that one look reads, from the end: a busy journal costs no more than this."""
ANSWERED = 200
"""The status of a request that has an answer."""
_BLOCK = 256 * 1024
_HEAD = 256
"""Bytes that a line's id, release, path and status take at most."""


def full_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.jsonl"))


def read(folder: Path, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """Every request since that Unix time, oldest first: time, id, release, path, status, stream, prompt_tokens, answer_tokens,
    seconds, first_token_seconds (None when nothing was said), finish, key (the public id of whose it was), question, answer."""
    return (entry for entry in _all(folder, since) if "feedback" not in entry)


def feedback(folder: Path, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """What people said of answers since that Unix time, oldest first: time, feedback (the answer's id), release, rating ('up',
    'down' or None), comment, correction. The last word on an answer counts."""
    return (entry for entry in _all(folder, since) if "feedback" in entry)


def _all(folder: Path, since: float) -> Iterator[dict[str, Any]]:
    full, current = _files(folder)
    with current:
        for path in full:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                yield from (entry for entry in _entries(file) if entry["time"] >= since)
        yield from (entry for entry in _entries(current) if entry["time"] >= since)


def _entries(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in file:
        try:
            entry = json.loads(line.decode(errors="replace"))
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and "time" in entry:
            yield entry


def _files(folder: Path) -> tuple[list[Path], BinaryIO]:
    """The full files, the oldest first, and the current one, opened: it may be turned over while it is read, and is then neither
    missed nor read twice. A full one may be too old and gone when its turn comes."""
    while True:
        full = full_files(folder)
        try:
            current: BinaryIO = (folder / CURRENT).open("rb")
        except FileNotFoundError:
            current = io.BytesIO()
        if full_files(folder) == full:
            return full, current
        current.close()  # it was turned over just then, and which of the two it is nobody knows


def _newest_first(folder: Path) -> Iterator[BinaryIO]:
    full, current = _files(folder)
    with current:
        yield current
    for path in reversed(full):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            yield file


def backwards(folder: Path) -> Iterator[bytes]:
    """Every line of the journal, the last one first, a block at a time."""
    for file in _newest_first(folder):
        yield from _lines_backwards(file)


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    at, rest = file.seek(0, 2), b""
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        rest, *lines = (file.read(size) + rest).split(b"\n")
        yield from (line for line in reversed(lines) if line)
    if rest:
        yield rest


def release_of(folder: Path, id: str) -> int | None:
    """Which release gave the answer with this id, if it is among the journal's last lines; a request that was refused has none.
    Searched in blocks, not in lines: it runs beside the serving."""
    # In what people wrote, a quote has a backslash before it.
    mark = re.compile(rb'"id": "%s", "release": ([0-9]+), "path": "[^"]*", "status": ([0-9]+)' % id.encode())
    left = MOST_BYTES
    for file in _newest_first(folder):
        at = file.seek(0, 2)
        while at > 0 and left > 0:
            at = max(0, at - _BLOCK)
            left -= _BLOCK
            file.seek(at)
            if found := mark.search(file.read(_BLOCK + _HEAD)):
                return int(found[1]) if int(found[2]) == ANSWERED else None
    return None
