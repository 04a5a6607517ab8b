"""A YAML file becomes nodes that know where they were written. YAML 1.2; it never recurses, so no file can exhaust it."""

import difflib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from llmspec.errors import Problem, SpecError
from llmspec.language import syntax
from llmspec.language.scalars import plain_value

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 5_000
"""Values in one file, counted after anchors are expanded."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text, from 1."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written: a scalar, a list of nodes, or a dict of nodes."""

    value: Any
    mark: Mark
    key: Mark | None = None
    """Where its key stands, for a value in a mapping."""
    raw: str = ""
    """A scalar as it was typed, without its quotes."""
    block: bool = False
    """A mapping or list in indented form, which has no opening bracket to point at."""
    how: str = "written"
    """`written`, `target prod`, `var region` or `env NAME`."""
    untyped: bool = False
    """Text from the environment: the field's type decides what it is."""
    spoiled: bool = False
    """A problem with it has been told already; what follows from it is not told."""
    size: int = 1
    depth: int = 0

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def spot(self) -> Mark:
        """Where a caret belongs: the value, or its key where the value has no place of its own."""
        return self.key if self.key and (self.block or self.mark.width == 0) else self.mark


@dataclass
class Source:
    """A file's text, its root node, and what is wrong with it so far."""

    file: str
    lines: list[str]
    root: Node = field(default_factory=lambda: Node({}, Mark(1, 1)))
    problems: list[Problem] = field(default_factory=list)

    def problem(self, mark: Mark | None, where: str, fault: str, cure: str = "") -> Problem:
        if mark is None:
            return Problem(self.file, 0, 0, where, fault, cure)
        text = self.lines[mark.line - 1] if mark.line <= len(self.lines) else ""
        return Problem(self.file, mark.line, mark.column, where, fault, cure, text, max(1, mark.width))

    def find(self, mark: Mark, word: str) -> Mark:
        """The word's own place, when it can be seen at or below the mark."""
        for number in range(mark.line, min(mark.line + 200, len(self.lines) + 1)):
            start = mark.column - 1 if number == mark.line else 0
            if (at := self.lines[number - 1].find(word, start)) >= 0:
                return Mark(number, at + 1, len(word))
        return mark


def read(path: Path | str) -> Source:
    """The file's nodes. Raises SpecError where there is no reading on."""
    path = Path(path)
    text = _decode(path, _read_bytes(path))
    source = Source(str(path), _LINE_END.split(text))
    if bad := _UNPRINTABLE.search(text):
        _refuse_character(source, text, bad.start())
    if not text.strip():
        _refuse(path, "the file is empty", "start with `llmspec: 1`, or let `llmspec init` write a first spec")
    source.root = _Builder(source).build(text)
    return source


def _refuse(path: Path, fault: str, cure: str = "") -> NoReturn:
    raise SpecError(Problem(str(path), 0, 0, "", fault, cure))


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat()
        if stat.S_ISDIR(mode.st_mode):
            found = ", ".join(str(path / name) for name in _specs_in(path)[:5])
            _refuse(path, "is a directory, not a spec", f"name a file in it: {found}" if found else "name a .yaml file")
        if not stat.S_ISREG(mode.st_mode):
            _refuse(path, "is not a regular file", "name a .yaml file")
        if mode.st_size <= MAX_BYTES:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) <= MAX_BYTES:
                return data
    except (OSError, ValueError) as error:
        _refuse_unreadable(path, error)
    _refuse(path, f"is {mode.st_size / 1e6:.1f} MB; a spec has at most 1 MB", "data belongs into files that data.sources names")


def _refuse_unreadable(path: Path, error: OSError | ValueError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        near = difflib.get_close_matches(path.name, _specs_in(path.parent), n=1, cutoff=0.5)
        others = ", ".join(str(path.parent / name) for name in _specs_in(path.parent)[:5])
        cure = f"did you mean {path.parent / near[0]}?" if near else f"there is {others}" if others else "see `llmspec init`"
        _refuse(path, "no such file", cure)
    reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
    _refuse(path, f"cannot be read: {reason.lower() or error}", "check its path and permissions")


def _specs_in(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _decode(path: Path, data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        _refuse(path, "is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        lines = _LINE_END.split(data.decode("utf-8-sig", "replace"))
        passed = _LINE_END.split(before)
        problem = Source(str(path), lines).problem(
            Mark(len(passed), len(passed[-1]) + 1),
            "",
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        raise SpecError(problem) from None


def _refuse_character(source: Source, text: str, at: int) -> NoReturn:
    passed = _LINE_END.split(text[:at])
    mark = Mark(len(passed), len(passed[-1]) + 1)
    name = "a NUL byte" if text[at] == "\0" else f"the control character U+{ord(text[at]):04X}"
    raise SpecError(source.problem(mark, "", f"{name} has no place in YAML", "delete it"))


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    mark: Mark
    block: bool
    anchor: str | None
    items: Any
    key: Node | None = None
    waits_for_value: bool = False
    merged: dict[str, Node] = field(default_factory=dict)
    """What `<<` brought: it loses against keys that are written."""
    size: int = 1
    depth: int = 0


class _Builder:
    """Follows the parser's events with a stack of its own."""

    def __init__(self, source: Source):
        self.source = source
        self.open: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}
        self.root: Node | None = None
        self.total = 0
        self.documents = 0

    def build(self, text: str) -> Node:
        for event in self._events(text):
            match event:
                case yaml.DocumentStartEvent():
                    self._document(event)
                case yaml.ScalarEvent():
                    self._add(self._scalar(event), event.anchor)
                case yaml.MappingStartEvent():
                    self._start(event, {})
                case yaml.SequenceStartEvent():
                    self._start(event, [])
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end(event)
                case yaml.AliasEvent():
                    self._alias(event)
        if self.root is None or (self.root.value is None and not self.root.raw):
            self._stop(None, "there is nothing in the file but comments", "start with `llmspec: 1`, or see `llmspec init`")
        if not isinstance(self.root.value, dict):
            self._stop(self.root.mark, "a spec is made of keys, `llmspec: 1` the first of them", "see `llmspec init`")
        return self.root

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            spot = syntax.explain(error, self.source.lines)
            self._stop(Mark(spot.line, spot.column, spot.width), spot.fault, spot.cure)
        except yaml.YAMLError as error:
            self._stop(None, f"is not YAML: {error}")

    def _stop(self, mark: Mark | None, fault: str, cure: str = "") -> NoReturn:
        raise SpecError(*self.source.problems, self.source.problem(mark, self._where(), fault, cure))

    def _note(self, mark: Mark, fault: str, cure: str = "") -> None:
        self.source.problems.append(self.source.problem(mark, self._where(), fault, cure))

    def _where(self) -> str:
        where = ""
        for level in self.open:
            if isinstance(level.items, list):
                where += f"[{len(level.items)}]"
            elif level.key is not None and level is not self.open[-1]:
                where += f".{level.key.value}" if where else str(level.key.value)
        return where if len(where) <= 60 else ""

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            cure = "one file, one spec: move it to a file of its own, or take '---' out"
            self._stop(_mark(event), "a second document starts here", cure)

    def _scalar(self, event: Any) -> Node:
        mark = _mark(event, len(self.source.lines[event.start_mark.line]) if event.start_mark.line < len(self.source.lines) else 0)
        if "\0" in event.value:
            self._stop(mark, "a NUL character has no place in a spec", "delete the \\0")
        value, fault = plain_value(event.value, event.tag, event.implicit[0] and event.style in (None, ""))
        if fault:
            self._note(mark, *fault)
        return Node(value, mark, raw=event.value, spoiled=bool(fault))

    def _start(self, event: Any, items: Any) -> None:
        mark = _mark(event, len(self.source.lines[event.start_mark.line]) if event.flow_style else None)
        if event.tag is not None and event.tag not in _TAGS:
            self._note(mark, f"the tag {syntax.shorten(event.tag)} is not known", "take it out")
        if len(self.open) >= MAX_DEPTH:
            self._stop(mark, f"nested more than {MAX_DEPTH} deep", "no key of llm.yaml is that deep: is a bracket too many?")
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open(mark, not event.flow_style, event.anchor, items))

    def _end(self, event: Any) -> None:
        level = self.open.pop()
        value = {**level.merged, **level.items} if level.merged else level.items
        mark = level.mark
        if not level.block and event.end_mark.line == mark.line - 1:
            mark = replace(mark, width=event.end_mark.column - mark.column + 1)
        node = Node(value, mark, block=level.block, size=level.size, depth=level.depth + 1)
        self._add(node, level.anchor, counted=True)

    def _alias(self, event: Any) -> None:
        mark = _mark(event)
        if event.anchor not in self.anchors:
            near = difflib.get_close_matches(event.anchor, self.anchors, n=1)
            cure = f"did you mean '*{near[0]}'?" if near else "quote the text if it should start with '*'"
            self._stop(mark, f"no anchor is called '&{syntax.shorten(event.anchor)}' above this line", cure)
        node = self.anchors[event.anchor]
        if node is None:
            self._stop(mark, f"'*{event.anchor}' contains itself", "an alias may not stand inside its own anchor")
        if len(self.open) + node.depth > MAX_DEPTH:
            self._stop(mark, f"nested more than {MAX_DEPTH} deep", "expand less through anchors")
        self._add(node, None)

    def _count(self, size: int, mark: Mark) -> None:
        self.total += size
        if self.total > MAX_NODES:
            anchors = " once its anchors are expanded" if self.anchors else ""
            self._stop(mark, f"more than {MAX_NODES:,} values{anchors}", "a spec is small: keep data in files of their own")

    def _add(self, node: Node, anchor: str | None, counted: bool = False) -> None:
        self._count(1 if counted else node.size, node.mark)
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return
        level = self.open[-1]
        level.size += node.size
        level.depth = max(level.depth, node.depth)
        if isinstance(level.items, list):
            level.items.append(node)
        elif level.waits_for_value:
            level.waits_for_value = False
            self._put(level, node)
        else:
            level.key, level.waits_for_value = node, True

    def _put(self, level: _Open, node: Node) -> None:
        key = level.key
        assert key is not None
        if not isinstance(key.value, str) and isinstance(key.value, dict | list):
            self._note(key.mark, "a key is text, not a mapping or a list", _cure_for_braces(self.source, key.mark))
        elif not isinstance(key.value, str):
            self._note(key.mark, f"a key is text, and {key.raw or 'null'} is not", f"quote it: '{key.raw}'")
        elif key.value == "<<":
            self._merge(level, node, key.mark)
        elif key.value in level.items:
            first = level.items[key.value].key
            self._note(
                key.mark, f"the key '{syntax.shorten(key.value)}' is written twice", f"keep one: the first is on line {first.line}"
            )
        else:
            level.items[key.value] = replace(node, key=key.mark)

    def _merge(self, level: _Open, node: Node, mark: Mark) -> None:
        parts = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(part.value, dict) for part in parts):
            self._note(mark, "'<<' merges a mapping, or a list of mappings", "write `<<: *anchor`")
            return
        for part in parts:
            for name, item in part.value.items():
                level.merged.setdefault(name, item)


def _cure_for_braces(source: Source, mark: Mark) -> str:
    line = source.lines[mark.line - 1]
    return syntax.QUOTE_IT if line[mark.column - 2 : mark.column] == "${" else "write `key: value`"


def _mark(event: Any, line_length: int | None = None) -> Mark:
    """Where an event starts, and how wide it is on its first line."""
    start, end = event.start_mark, event.end_mark
    width = end.column - start.column if end.line == start.line else max(1, (line_length or 0) - start.column)
    return Mark(start.line + 1, start.column + 1, width)
