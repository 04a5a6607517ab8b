"""Which field of the language a dotted path means, what may stand there, and what its docstring says."""

import ast
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Discriminator
from pydantic.fields import FieldInfo

from llmspec.registry import Choice
from llmspec.section import Section, parse_duration, parse_size

Part = str | int
Path = tuple[Part, ...]
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Meant:
    """What may stand at a path: a type, its marks, and the field that says so."""

    annotation: Any
    marks: tuple[Any, ...] = ()
    owner: type[Section] | None = None
    name: str = ""

    @property
    def field(self) -> FieldInfo | None:
        return self.owner.model_fields.get(self.name) if self.owner else None

    @property
    def doc(self) -> str:
        return docs(self.owner).get(self.name, "") if self.owner else ""

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        """Each member of a union by itself, with the marks that hold for it."""
        return _shapes(self.annotation, self.marks)

    def sections(self) -> list[type[Section]]:
        """The models that a mapping here may be."""
        return [shape for shape, marks in self.shapes() if _is_section(shape) and _choice(marks) is None]

    def choice(self) -> Choice | None:
        """The kind of card that is chosen here."""
        return next((found for _, marks in self.shapes() if (found := _choice(marks))), None)

    def is_duration(self) -> bool:
        """Whether it is seconds that are written as `5m`."""
        return any(getattr(mark, "func", None) is parse_duration for _, marks in self.shapes() for mark in marks)

    def is_size(self) -> bool:
        """Whether it is bytes that are written as `2GB`."""
        return any(getattr(mark, "func", None) is parse_size for _, marks in self.shapes() for mark in marks)

    def marked(self, kind: type[Any]) -> Any:
        """The first mark of this kind."""
        return next((mark for _, marks in self.shapes() for mark in marks if isinstance(mark, kind)), None)

    def step(self, part: Part) -> "Meant | None":
        """One key or index further."""
        return next(self._steps(part), None)

    def _steps(self, part: Part) -> Iterator["Meant"]:
        for shape, marks in self.shapes():
            origin, arguments = get_origin(shape), get_args(shape)
            if choice := _choice(marks):
                if card := choice.card(str(part)):
                    yield Meant(card)
            elif _is_section(shape):
                if (field := shape.model_fields.get(part)) is not None:
                    yield Meant(field.annotation, tuple(field.metadata), shape, str(part))
            elif origin is list:
                inner = Meant(arguments[0], (), self.owner, self.name)
                yield from [inner] if isinstance(part, int) else inner._steps(part)
            elif origin is dict:
                yield Meant(arguments[1], (), self.owner, self.name)


def _shapes(annotation: Any, marks: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        more = [mark for item in more for mark in (item.metadata if isinstance(item, FieldInfo) else [item])]
        yield from _shapes(inner, (*marks, *more))
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _shapes(argument, marks)
    else:
        yield annotation, marks


def _is_section(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, Section)


def _choice(marks: tuple[Any, ...]) -> Choice | None:
    return next((mark for mark in marks if isinstance(mark, Choice)), None)


def root() -> Meant:
    from llmspec.spec import Spec

    return Meant(Spec)


def at(path: Path) -> Meant | None:
    """The field that a path means."""
    meant: Meant | None = root()
    for part in path:
        meant = meant.step(part) if meant else None
    return meant


def parse_path(dotted: str) -> Path:
    """'data.sources[0].path' -> ('data', 'sources', 0, 'path')."""
    return tuple(int(index) if index else name for name, index in _PART.findall(dotted))


def format_path(path: Path) -> str:
    """('data', 'sources', 0, 'path') -> 'data.sources[0].path'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def chosen(meant: Meant, keys: dict[str, Any]) -> str | None:
    """Which of several shapes a mapping has taken: `spark` of {spark: {...}}, `hub` of {hub: ..., revision: ...}."""
    if meant.choice():
        return next(iter(keys), None)
    by = meant.marked(Discriminator)
    return by.discriminator(keys) if by and callable(by.discriminator) else None


@cache
def docs(section: type[Section]) -> dict[str, str]:
    """Field -> the docstring under it. Read from the source, and only when somebody asks: it would slow each start."""
    found: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        if _is_section(owner) and owner is not Section:
            found.update(_docs_in(owner))
    return found


def first_sentence(doc: str) -> str:
    return re.split(r"(?<=[^.])\.(?:\s|$)", doc)[0].strip() if doc else ""


def _docs_in(owner: type[Any]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, SyntaxError):
        return {}  # a class made at run time has no source, so no docstrings
    (body,) = (node.body for node in tree.body[:1] if isinstance(node, ast.ClassDef))
    pairs = itertools.pairwise(body)
    return {
        field.target.id: inspect.cleandoc(doc.value.value)
        for field, doc in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }
