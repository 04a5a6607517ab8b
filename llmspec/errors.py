"""Everything llmspec can say no with. Each message gives the place, the fault and the cure."""

import unicodedata
from dataclasses import dataclass

FAILED = "work failed: "
"""How a work process begins the last line it says, so that its place can repeat the cause."""
DAMAGED_CODE = 65
"""What a work process ends with when what it was to read is damaged, and was set aside: making that again is the cure."""

_MAX_SHOWN = 110
"""Characters of a line that are shown around the caret."""
_MAX_SAID = 400
"""Characters of a fault or a cure: they repeat what was written, and that may be long."""
_MAX_LISTED = 50
"""Problems that a message lists; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec."""

    file: str
    line: int
    """From 1; 0 when the file as a whole is meant."""
    column: int
    where: str
    """The dotted path: `data.sources[0].path`."""
    fault: str
    cure: str = ""
    text: str = ""
    """The line itself, for the caret."""
    width: int = 1
    """How many carets."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{_clipped(self.where, _MAX_SHOWN)}: " if self.where else ""
        said, cure = _printable(f"{place}  {where}{_clipped(self.fault)}"), _printable(_clipped(self.cure))
        if not self.line or not self.text:
            return said + (f"\n  {cure}" if cure else "")
        text, before, width = self._window()
        caret = " " * _columns(before) + "^" * max(1, width)
        return f"{said}\n{self.line:>5} | {text}\n{' ' * 5} | {caret}{' ' + cure if cure else ''}"

    def _window(self) -> tuple[str, str, int]:
        """The part of the line around the fault, what of it is left of the caret, and how many carets fit."""
        text = _printable(self.text)
        start = self.column - 1
        first = max(0, min(start - 20, len(text) - _MAX_SHOWN)) if len(text) > _MAX_SHOWN and start > 60 else 0
        head = "…" if first else ""
        tail = "…" if len(text) > first + _MAX_SHOWN else ""
        shown = text[first : first + _MAX_SHOWN]
        width = _columns(text[start : min(start + self.width, first + _MAX_SHOWN)])
        return head + shown + tail, head + text[first:start], width


def _clipped(text: str, most: int = _MAX_SAID) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _printable(text: str) -> str:
    """No tab that moves the caret away, no escape code that reaches the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _columns(text: str) -> int:
    """How wide a terminal prints it: East Asian characters take two columns, combining ones none."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class LLMSpecError(Exception):
    """The root: `exit_code` is what the command ends with."""

    exit_code = 1


class SpecError(LLMSpecError):
    """The user's file or call is wrong. All problems at once."""

    exit_code = 2

    def __init__(self, *problems: Problem):
        self.problems = problems
        listed = [str(problem) for problem in problems[:_MAX_LISTED]]
        more = len(problems) - len(listed)
        super().__init__("\n".join(listed + ([f"… and {more:,} more like these"] if more else [])))


class CallError(LLMSpecError):
    """The command was called wrongly."""

    exit_code = 2


class PlaceError(LLMSpecError):
    """The world failed: a process died, a port was taken, a disk was full. `log` is where to read on."""

    def __init__(self, message: str, log: str = ""):
        self.log = log
        super().__init__(f"{message}\n  log: {log}" if log else message)


class StoreError(LLMSpecError):
    """The store cannot be read or written."""


class DamagedError(StoreError):
    """An artifact is not what its manifest says."""


class MovedError(StoreError):
    """Somebody else was quicker: what was to be replaced is no longer what it was."""


class GoneError(StoreError):
    """What was asked for is not there."""


class NoStoreError(StoreError):
    """There is no such store."""


class LockedError(LLMSpecError):
    """Somebody else is applying this spec."""


class BlockedError(LLMSpecError):
    """A check or a gate does not hold, so what follows is not touched."""


class StaleError(LLMSpecError):
    """A saved plan no longer says what would happen."""

    exit_code = 2


class DeclinedError(Exception):
    """Somebody was asked, and said no. Its text is what was not done, and no fault."""
