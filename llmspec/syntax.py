"""What YAML's parser complains of, said as a person would."""

import re
from dataclasses import dataclass
from typing import Any

QUOTE_IT = 'quote it: "${…}"; inside {…} and […] YAML takes its braces for its own'
_INDENTED_BY_TAB = re.compile(r"[ \t]*\t[ \t]*\S")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( |$)")


@dataclass(frozen=True)
class Spot:
    """A fault in the text; line and column from 1."""

    line: int
    column: int
    width: int
    fault: str
    cure: str = ""


def shorten(text: Any, most: int = 60) -> str:
    """One line, and not too much of it."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def explain(error: Any, text: str, lines: list[str]) -> Spot:
    """The fault behind a parser's or scanner's error."""
    mark = error.problem_mark or error.context_mark
    row, column = min(mark.line, len(lines) - 1), mark.column
    line = lines[row]
    return (
        _conflict_marker(lines, row)
        or _unquoted_reference(line, row, column)
        or _tab(line, row)
        or _by_message(error, lines, row, column)
    )


def _conflict_marker(lines: list[str], row: int) -> Spot | None:
    for number in (row, row - 1):
        if number >= 0 and (match := _CONFLICT.match(lines[number])):
            return Spot(number + 1, 1, len(match[1]), "a merge conflict is left in the file", "resolve it, and take the marker out")
    return None


def _unquoted_reference(line: str, row: int, column: int) -> Spot | None:
    """`{a: ${x}}`: the parser stops at the second brace."""
    at = column - 1 if line[max(0, column - 1) : column + 1] == "${" else -1
    if at < 0:
        return None
    start = max((line.rfind(sign, 0, at) + len(sign) for sign in (",", "{", "[", ": ") if sign in line[:at]), default=at)
    while start < at and line[start] == " ":
        start += 1
    match = re.compile(r"(?:\$\{[^{}]*\}|[^\s,{}\[\]])*").match(line, start)
    written = match[0] if match else "${"
    fault = f"{shorten(written)} is not quoted, and inside {{…}} and […] YAML takes its braces for its own"
    return Spot(row + 1, start + 1, len(written), fault, f'quote it: "{shorten(written)}"')


def _tab(line: str, row: int) -> Spot | None:
    if not _INDENTED_BY_TAB.match(line):
        return None
    at = line.index("\t")
    width = len(line[at:]) - len(line[at:].lstrip("\t"))
    return Spot(row + 1, at + 1, width, "a tab indents this line, and YAML allows only spaces", "replace it by spaces")


def _by_message(error: Any, lines: list[str], row: int, column: int) -> Spot:
    message, line = str(error.problem or "").lower(), lines[row]
    for part, speak in _SAYINGS.items():
        if part in message:
            return speak(error, lines, row, column)
    word = re.match(r"\S*", line[column:])
    return Spot(row + 1, column + 1, len(word[0]) if word else 1, f"this is not YAML: {message or error.context}", "check the line")


def _second_colon(error: Any, lines: list[str], row: int, column: int) -> Spot:
    line = lines[row]
    if row and column and re.fullmatch(r"[\w.-]+", line[:column].strip()) and lines[row - 1].strip():
        above = next((n for n in range(row - 1, -1, -1) if lines[n].strip() and not lines[n].lstrip().startswith("#")), row - 1)
        if ":" not in lines[above]:
            start = len(lines[above]) - len(lines[above].lstrip())
            width = len(lines[above].strip())
            return Spot(above + 1, start + 1, width, "a ':' is missing", "write `key: value`")
        fault = "this key is indented deeper than the value above it allows"
        return Spot(
            row + 1, len(line) - len(line.lstrip()) + 1, len(line[:column].strip()), fault, "line it up with its neighbours"
        )
    fault = "a second ':' on one line"
    return Spot(row + 1, column + 1, 1, fault, "quote the text if the ':' belongs to it, or start a new line for a new key")


def _bad_indent(error: Any, lines: list[str], row: int, column: int) -> Spot:
    line = lines[row]
    rest = line[column:]
    width = len(rest.split("#")[0].split(":")[0].strip()) or 1
    if line[:column].strip():
        fault = "there is text after a value that has ended"
        return Spot(row + 1, column + 1, width, fault, "quote the whole value; a ' inside '…' is written ''")
    since = error.context_mark.line + 1 if error.context_mark else row
    if rest.startswith("- ") or rest.strip() == "-":
        return Spot(row + 1, column + 1, 1, "a list item where a key is expected", "indent it below its key, or take the '-' out")
    fault = f"this line fits no indentation above it (the section starts on line {since})"
    return Spot(row + 1, column + 1, width, fault, "line it up with the keys of its section")


def _missing_dash(error: Any, lines: list[str], row: int, column: int) -> Spot:
    width = len(lines[row][column:].split(":")[0].strip()) or 1
    return Spot(row + 1, column + 1, width, "a key among list items", "indent it deeper, or start it with '- '")


def _odd_start(error: Any, lines: list[str], row: int, column: int) -> Spot:
    sign = lines[row][column : column + 1]
    return Spot(row + 1, column + 1, 1, f"a value cannot start with {sign!r}", "put it in quotes")


def _dash(error: Any, lines: list[str], row: int, column: int) -> Spot:
    return Spot(row + 1, column + 1, 1, "a list cannot start on the line of its key", "start a new line, or write [a, b]")


def _open_bracket(error: Any, lines: list[str], row: int, column: int) -> Spot:
    sign = "}" if "'}'" in str(error.problem) else "]"
    start = error.context_mark
    ends = row == len(lines) - 1 and not lines[row][column:].strip()
    if start is None or (start.line == row and not ends):
        return Spot(row + 1, column + 1, 1, f"a ',' or '{sign}' is missing before this", f"add it; {{…}} and […] separate by ','")
    fault = "this bracket is never closed" + ("" if ends else f": a ',' or '{sign}' is missing before line {row + 1}")
    return Spot(start.line + 1, start.column + 1, 1, fault, f"close it with '{sign}'")


def _open_quote(error: Any, lines: list[str], row: int, column: int) -> Spot:
    start = error.context_mark or error.problem_mark
    return Spot(start.line + 1, start.column + 1, 1, "this quote is never closed", "close it, or take it out")


def _escape(error: Any, lines: list[str], row: int, column: int) -> Spot:
    at = lines[row].find("\\", max(0, column - 1))
    at = at if at >= 0 else column
    sign = lines[row][at : at + 2]
    fault = f"{sign} means nothing inside double quotes"
    return Spot(row + 1, at + 1, 2, fault, "use single quotes, or double the backslash")


def _no_content(error: Any, lines: list[str], row: int, column: int) -> Spot:
    sign = lines[row][column : column + 1]
    return Spot(row + 1, column + 1, 1, f"a value is missing before {sign!r}", "write one, or quote the text")


def _directive(error: Any, lines: list[str], row: int, column: int) -> Spot:
    return Spot(row + 1, 1, len(lines[row].rstrip()), "a spec needs no % line", "take it out")


_SAYINGS = {
    "mapping values are not allowed": _second_colon,
    "did not find expected key": _bad_indent,
    "expected <block end>, but found '?'": _missing_dash,
    "expected <block end>": _bad_indent,
    "'-' indicator": _missing_dash,
    "sequence entries are not allowed": _dash,
    "expected ',' or": _open_bracket,
    "that cannot start any token": _odd_start,
    "unexpected end of stream": _open_quote,
    "unexpected document indicator": _open_quote,
    "unknown escape": _escape,
    "node content": _no_content,
    "directive": _directive,
    "incompatible yaml": _directive,
    "document start": _bad_indent,
}
