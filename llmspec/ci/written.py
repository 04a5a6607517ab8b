"""Whether the workflow in the repository is ours, as we wrote it, and what we would write now."""

import hashlib
import shlex
from pathlib import Path
from typing import Literal

FILE = Path(".github/workflows/llmspec.yml")
MARK = "# Written by `llmspec ci`, which brings it up to date. sha256 of what follows: "
CALL = "# llmspec ci "

State = Literal["missing", "current", "outdated", "edited"]


def whole(words: list[str], body: str) -> str:
    """The file: a digest by which an edit shows, how it was asked for, and the workflow."""
    rest = f"{CALL}{shlex.join(words)}\n{body}"
    return f"{MARK}{_digest(rest)}\n{rest}"


def state(wanted: str) -> State:
    found = _read()
    if found is None:
        return "missing"
    if found == wanted:
        return "current"
    first, _, rest = found.partition("\n")
    return "outdated" if first == MARK + _digest(rest) else "edited"


def words() -> list[str] | None:
    """How the file was asked for; None where there is none that says so."""
    line = next((line for line in (_read() or "").splitlines()[:2] if line.startswith(CALL)), None)
    return None if line is None else shlex.split(line.removeprefix(CALL))


def _read() -> str | None:
    return FILE.read_text(encoding="utf-8") if FILE.exists() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
