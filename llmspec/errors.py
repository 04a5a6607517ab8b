"""Everything llmspec can say no with. Each message gives the place, the fault and the cure."""

from dataclasses import dataclass

FAILED = "work failed: "
"""How a work process begins the last line it says, so that its place can repeat the cause."""


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
        said = f"{place}  {self.where + ': ' if self.where else ''}{self.fault}"
        if not self.line or not self.text:
            return said + (f"\n  {self.cure}" if self.cure else "")
        gutter = f"{self.line:>5} | "
        caret = " " * (self.column - 1) + "^" * max(1, self.width)
        return f"{said}\n{gutter}{self.text}\n{' ' * 5} | {caret}{' ' + self.cure if self.cure else ''}"


class LLMSpecError(Exception):
    """The root: `exit_code` is what the command ends with."""

    exit_code = 1


class SpecError(LLMSpecError):
    """The user's file or call is wrong. All problems at once."""

    exit_code = 2

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


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


class LockedError(LLMSpecError):
    """Somebody else is applying this spec."""


class BlockedError(LLMSpecError):
    """A check or a gate does not hold, so what follows is not touched."""


class StaleError(LLMSpecError):
    """A saved plan no longer says what would happen."""

    exit_code = 2
