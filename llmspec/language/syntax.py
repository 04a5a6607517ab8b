"""What YAML's parser complains of, said as a person would."""

import re
from dataclasses import dataclass
from typing import Any

QUOTE_IT = 'quote it: "${…}"; inside {…} and […] YAML takes its braces for its own'
_INDENTED_BY_TAB = re.compile(r"[ \t]*\t[ \t]*\S")
_UNQUOTED = re.compile(r"(?:\$\{[^{}]*\}|[^\s,{}\[\]])*")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( |$)")


@dataclass(frozen=True)
class Spot:
    """A fault in the text; line and column from 1."""

    line: int
    column: int
    width: int
    fault: str
    cure: str = ""


@dataclass(frozen=True)
class Broken:
    """Where the parser gave up, and what it said."""

    error: Any
    lines: list[str]
    row: int
    column: int

    @property
    def line(self) -> str:
        return self.lines[self.row]

    @property
    def rest(self) -> str:
        """The line from the parser's place on."""
        return self.line[self.column :]

    def here(self, fault: str, cure: str, width: int = 1) -> Spot:
        return Spot(self.row + 1, self.column + 1, max(1, width), fault, cure)


def shorten(text: Any, most: int = 60) -> str:
    """One line, and not too much of it."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def explain(error: Any, lines: list[str]) -> Spot:
    """The fault behind a parser's or scanner's error."""
    mark = error.problem_mark or error.context_mark
    it = Broken(error, lines, min(mark.line, len(lines) - 1), mark.column)
    return _conflict_marker(it) or _unquoted_reference(it) or _tab(it) or _by_message(it)


def _conflict_marker(it: Broken) -> Spot | None:
    for number in (it.row, it.row - 1):
        if number >= 0 and (match := _CONFLICT.match(it.lines[number])):
            return Spot(number + 1, 1, len(match[1]), "a merge conflict is left in the file", "resolve it, and take the marker out")
    return None


def _unquoted_reference(it: Broken) -> Spot | None:
    """`{a: ${x}}`: the parser stops at the second brace."""
    line, at = it.line, it.column - 1
    if at < 0 or line[at : at + 2] != "${":
        return None
    start = max((line.rfind(sign, 0, at) + len(sign) for sign in (",", "{", "[", ": ") if sign in line[:at]), default=at)
    while start < at and line[start] == " ":
        start += 1
    match = _UNQUOTED.match(line, start)
    written = match[0].removesuffix(":") if match else "${"
    fault = f"{shorten(written)} is not quoted, and inside {{…}} and […] YAML takes its braces for its own"
    return Spot(it.row + 1, start + 1, len(written), fault, f'quote it: "{shorten(written)}"')


def _tab(it: Broken) -> Spot | None:
    if not _INDENTED_BY_TAB.match(it.line):
        return None
    at = it.line.index("\t")
    width = len(it.line[at:]) - len(it.line[at:].lstrip("\t"))
    return Spot(it.row + 1, at + 1, width, "a tab indents this line, and YAML allows only spaces", "replace it by spaces")


def _by_message(it: Broken) -> Spot:
    message = str(it.error.problem or "").lower()
    for part, speak in _SAYINGS.items():
        if part in message:
            return speak(it)
    word = re.match(r"\S*", it.rest)
    return it.here(f"this is not YAML: {message or it.error.context}", "check the line", len(word[0]) if word else 1)


def _second_colon(it: Broken) -> Spot:
    before = it.line[: it.column]
    above = next((n for n in range(it.row - 1, -1, -1) if it.lines[n].strip() and not it.lines[n].lstrip().startswith("#")), None)
    if above is None or not re.fullmatch(r"[\w.-]+", before.strip()):
        cure = "quote the text if the ':' belongs to it, or start a new line for a new key"
        return it.here("a second ':' on one line", cure)
    line = it.lines[above]
    if ":" not in line:
        return Spot(above + 1, len(line) - len(line.lstrip()) + 1, len(line.strip()), "a ':' is missing", "write `key: value`")
    fault = "this key is indented deeper than the value above it allows"
    start = len(before) - len(before.lstrip())
    return Spot(it.row + 1, start + 1, len(before.strip()), fault, "line it up with its neighbours")


def _bad_indent(it: Broken) -> Spot:
    width = len(it.rest.split("#")[0].split(":")[0].strip())
    if it.line[: it.column].strip():
        return it.here("there is text after a value that has ended", "quote the whole value; a ' inside '…' is written ''", width)
    if it.rest.startswith("- ") or it.rest.strip() == "-":
        return it.here("a list item where a key is expected", "indent it below its key, or take the '-' out")
    since = it.error.context_mark.line + 1 if it.error.context_mark else it.row
    fault = f"this line fits no indentation above it (the section starts on line {since})"
    return it.here(fault, "line it up with the keys of its section", width)


def _missing_dash(it: Broken) -> Spot:
    width = len(it.rest.split(":")[0].strip())
    return it.here("a key among list items", "indent it deeper, or start it with '- '", width)


def _odd_start(it: Broken) -> Spot:
    return it.here(f"a value cannot start with {it.rest[:1]!r}", "put it in quotes")


def _dash(it: Broken) -> Spot:
    return it.here("a list cannot start on the line of its key", "start a new line, or write [a, b]")


def _open_bracket(it: Broken) -> Spot:
    sign, start = "}" if "'}'" in str(it.error.problem) else "]", it.error.context_mark
    ends = it.row == len(it.lines) - 1 and not it.rest.strip()
    if start is None or (start.line == it.row and not ends):
        return it.here(f"a ',' or '{sign}' is missing before this", "add it; {…} and […] separate by ','")
    fault = "this bracket is never closed" + ("" if ends else f": a ',' or '{sign}' is missing before line {it.row + 1}")
    return Spot(start.line + 1, start.column + 1, 1, fault, f"close it with '{sign}'")


def _open_quote(it: Broken) -> Spot:
    start = it.error.context_mark or it.error.problem_mark
    return Spot(start.line + 1, start.column + 1, 1, "this quote is never closed", "close it, or take it out")


def _escape(it: Broken) -> Spot:
    at = max(it.column, it.line.find("\\", max(0, it.column - 1)))
    fault = f"{it.line[at : at + 2]} means nothing inside double quotes"
    return Spot(it.row + 1, at + 1, 2, fault, "use single quotes, or double the backslash")


def _no_content(it: Broken) -> Spot:
    return it.here(f"a value is missing before {it.rest[:1]!r}", "write one, or quote the text")


def _no_colon(it: Broken) -> Spot:
    start = it.error.context_mark or it.error.problem_mark
    word = it.lines[start.line][start.column :].rstrip()
    return Spot(start.line + 1, start.column + 1, max(1, len(word)), "a ':' is missing", "write `key: value`")


def _directive(it: Broken) -> Spot:
    return Spot(it.row + 1, 1, max(1, len(it.line.rstrip())), "a spec needs no % line", "take it out")


_SAYINGS = {
    "mapping values are not allowed": _second_colon,
    "did not find expected key": _bad_indent,
    "expected <block end>, but found '?'": _missing_dash,
    "expected <block end>": _bad_indent,
    "'-' indicator": _missing_dash,
    "sequence entries are not allowed": _dash,
    "expected ',' or": _open_bracket,
    "find expected ':'": _no_colon,
    "that cannot start any token": _odd_start,
    "unexpected end of stream": _open_quote,
    "unexpected document indicator": _open_quote,
    "unknown escape": _escape,
    "node content": _no_content,
    "directive": _directive,
    "incompatible yaml": _directive,
    "document start": _bad_indent,
}
