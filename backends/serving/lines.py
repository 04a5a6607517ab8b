"""JSON lines on stdout, for whatever collects a container's: `"line": "log"` never holds content, `"line": "journal"` as much as
the spec says.
"""

import json
import logging
import os
import threading
from typing import Any

from backends.serving.journal import WRITTEN, Journal
from llmspec.spec.endpoint import Journal as Kept

LONGEST = 16_000
"""Bytes: Docker cuts a longer line in two, and neither half is JSON."""


class Lines:
    """Whole lines, whoever writes: the journal's thread and the logs share the descriptor."""

    def __init__(self, descriptor: int = 1):
        self._descriptor, self._turn = descriptor, threading.Lock()

    def write(self, kind: str, facts: dict[str, Any]) -> None:
        left = json.dumps({"line": kind, **facts}, ensure_ascii=False, default=str).encode("utf-8", errors="replace") + b"\n"
        with self._turn:
            while left:
                left = left[os.write(self._descriptor, left) :]


class JsonLog(logging.Handler):
    """What the process says of itself."""

    def __init__(self, lines: Lines):
        super().__init__()
        self._lines, self._form = lines, logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        facts = {"time": round(record.created, 3), "level": record.levelname.lower(), "logger": record.name}
        facts["message"] = record.getMessage()
        if record.exc_info:
            facts["error"] = self._form.formatException(record.exc_info)
        try:
            self._lines.write("log", facts)
        except OSError:  # nobody reads any more: logging's own way of saying so, once per line, on stderr
            self.handleError(record)


class PrintedJournal(Journal):
    """The journal where a container has no disk to keep it: how long it is kept, the platform's log group says."""

    def __init__(self, kept: Kept, lines: Lines):
        super().__init__(None, kept)
        self._out = lines
        self._begin()

    def _append(self, entry: dict[str, Any]) -> None:
        self._out.write("journal", shortened(self._redacted(entry)))

    def _look_after(self) -> None:
        """Nothing is kept here, so nothing grows old."""


def shortened(entry: dict[str, Any]) -> dict[str, Any]:
    """The longest texts are cut until the line is whole for every collector; `cut` names them."""
    cut: set[str] = set()
    while (over := len(json.dumps(entry, ensure_ascii=False).encode("utf-8", errors="replace")) + 100 - LONGEST) > 0:
        field = max(WRITTEN, key=lambda name: len(entry.get(name) or ""))
        text = entry.get(field) or ""
        assert text, "what is not text is short"
        cut.add(field)
        entry = entry | {field: text[: max(0, len(text) - max(over // 4, 100))], "cut": sorted(cut)}
    return entry
