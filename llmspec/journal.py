"""The journal as a reader finds it: one JSON line per request, in files that only grow.

`journal.jsonl` is being written; `journal-000001.jsonl` and so on are full, the lower number the older. A crash can tear
the last line of a file, so a line that is no JSON is passed over.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CURRENT = "journal.jsonl"


def full_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.jsonl"))


def read(folder: Path, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """Every request since that Unix time, oldest first: time, id, release, path, status, stream, prompt_tokens, answer_tokens,
    seconds, first_token_seconds (None when nothing was said), finish, question, answer."""
    for path in [*full_files(folder), folder / CURRENT]:
        if path.exists() and path.stat().st_mtime >= since:
            yield from (entry for entry in _entries(path) if entry["time"] >= since)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and "time" in entry:
                yield entry
