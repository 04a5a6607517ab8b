"""What a key of the language means: its type, its default, its examples, and the keys below it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic_core import PydanticUndefined

from llmspec.errors import CallError
from llmspec.language import fields
from llmspec.language.fields import Meant, first_sentence
from llmspec.language.render import scalar
from llmspec.section import Like, MayHoldSecret, OutsideKey, Section, did_you_mean, format_duration
from llmspec.spec.data import CleanStep
from llmspec.spec.guards import Guard

_BOUNDS: dict[type[Any], tuple[str, str]] = {
    annotated_types.Ge: ("ge", "at least {}"),
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Le: ("le", "at most {}"),
    annotated_types.Lt: ("lt", "below {}"),
}
_WORDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Meaning:
    """What `llmspec explain KEY` prints."""

    key: str
    about: str
    type: str
    default: str
    """In YAML; empty when the key is needed."""
    examples: list[str]
    keys: dict[str, str]
    """The keys below it, and the first sentence of each."""
    notes: list[str]


def meaning(dotted: str) -> Meaning:
    """The meaning of `model.training.epochs`; an index may be left out: `data.sources.path`."""
    path = fields.parse_path(dotted.removesuffix(".")) if dotted else ()
    meant = fields.at(path)
    if meant is None or (dotted and not path):
        raise CallError(f"no key '{dotted[:80]}'\n  {_nearest(dotted)}")
    return Meaning(dotted, _about(meant), describe(meant), _default(meant), _examples(meant), dict(_below(meant)), _notes(meant))


def _nearest(dotted: str) -> str:
    last = dotted.rpartition(".")[2]
    ends = [key for key in all_keys() if key.rpartition(".")[2] == last]
    if ends:
        return f"did you mean {' or '.join(ends[:4])}?"
    near = did_you_mean(dotted, all_keys(), listed=False) or did_you_mean(
        last, {key.rpartition(".")[2] for key in all_keys()}, listed=False
    )
    if near and near.split("'")[1] not in all_keys():
        return _nearest(near.split("'")[1])
    return near or f"the keys are {', '.join(_first_keys())}"


def _first_keys() -> list[str]:
    return [key for key in all_keys() if "." not in key]


@cache
def all_keys() -> tuple[str, ...]:
    """Every key of the language, dotted, without indexes; those of targets repeat the others and are left out."""
    return tuple(_keys(fields.root(), "", ()))


def _keys(meant: Meant, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    for name in _below_names(meant):
        step = meant.step(name)
        if step is None or len(above) > 6:
            continue
        yield f"{prefix}{name}"
        if name != "targets":
            yield from _keys(step, f"{prefix}{name}.", (*above, name))


def _below_names(meant: Meant) -> list[str]:
    names = list(meant.choice().known()) if meant.choice() else []  # type: ignore[union-attr]
    for section in _sections(meant):
        names += [name for name in section.model_fields if name not in names]
    return names


def _sections(meant: Meant) -> Iterator[type[Section]]:
    yield from meant.sections()
    for shape, _ in meant.shapes():
        if get_origin(shape) is list:
            yield from _sections(Meant(get_args(shape)[0]))
        if get_origin(shape) is dict and isinstance(get_args(shape)[1], type):
            yield from _sections(Meant(get_args(shape)[1]))


def _below(meant: Meant) -> Iterator[tuple[str, str]]:
    for name in _below_names(meant):
        step = meant.step(name)
        if step is not None:
            yield name, first_sentence(_about(step))


def _about(meant: Meant) -> str:
    own = meant.annotation
    if not meant.doc and isinstance(own, type) and issubclass(own, Section):
        return (own.__doc__ or "").strip()
    return meant.doc


def describe(meant: Meant) -> str:
    """A type in words: 'a whole number, at least 16'."""
    shapes = list(meant.shapes())
    said = dict.fromkeys(_shape_words(shape, marks) for shape, marks in shapes if shape is not type(None))
    return " or ".join(said) + (", or null" if len(shapes) > 1 and any(shape is type(None) for shape, _ in shapes) else "")


def _shape_words(shape: Any, marks: tuple[Any, ...]) -> str:
    inner = Meant(shape, marks)
    origin, arguments = get_origin(shape), get_args(shape)
    if choice := inner.choice():
        return f"one of {', '.join(choice.known())}, alone or with options"
    if inner.is_duration():
        return "a duration such as 30s, 5m, 2h" + _bounds(marks, " s")
    if inner.is_size():
        return "a size such as 500MB, 2GB"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else f"always {arguments[0]}"
    if origin is list:
        return f"a list of {_plural(describe(Meant(arguments[0])))}"
    if origin is dict:
        return f"a mapping of names to {_plural(describe(Meant(arguments[1])))}"
    if isinstance(shape, type) and issubclass(shape, Section):
        return "a mapping"
    if pattern := getattr(shape, "pattern", None):
        return f"a comparison such as `{pattern}`"
    like = inner.marked(Like)
    return _WORDS.get(shape, "a value") + _bounds(marks) + (f" ({like.words})" if like else "")


def _plural(words: str) -> str:
    return {"text": "texts", "a mapping": "mappings", "a number": "numbers"}.get(words, words)


def _bounds(marks: tuple[Any, ...], unit: str = "") -> str:
    said = [
        words.format(f"{getattr(mark, name):,}")
        for mark in marks
        for kind, (name, words) in _BOUNDS.items()
        if isinstance(mark, kind)
    ]
    return "".join(f", {words}{unit}" for words in said)


LISTED: dict[Any, str] = {CleanStep: "clean", Guard: "guards"}
"""What is one of a list, by its name; and the list."""


def _default(meant: Meant) -> str:
    field = meant.field
    if field is None or field.is_required() or meant.owner in LISTED:
        return ""
    value = field.get_default(call_default_factory=True)
    return "" if value is PydanticUndefined else written(value, meant)


def written(value: Any, meant: Meant | None = None) -> str:
    """A default as it would be written in YAML."""
    if isinstance(value, Section):
        return "its own defaults" if type(value).model_fields else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(scalar(item, flow=True) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{scalar(key)}: {scalar(item, flow=True)}' for key, item in value.items())}}}"
    if meant and meant.is_duration() and value is not None:
        return format_duration(value)
    return scalar(value)


def _examples(meant: Meant) -> list[str]:
    """What the docstring shows in backquotes; else the choices; else the default."""
    name, default = meant.name, _default(meant)
    if meant.owner in LISTED:
        return _step_examples(meant)
    shown = [text for text in re.findall(r"`([^`]+)`", meant.doc) if "NAME" not in text and not text.startswith("split.")]
    if not shown and meant.choice():
        shown = list(meant.choice().known())  # type: ignore[union-attr]
    if not shown:
        shown = [str(option) for shape, _ in meant.shapes() if get_origin(shape) is Literal for option in get_args(shape)]
    if not shown and default and default != "its own defaults":
        shown = [default]
    if any(get_origin(shape) is list for shape, _ in meant.shapes()):
        shown = [text if text.startswith("[") else f"[{text}]" for text in shown]
    return [text if text.startswith(f"{name}:") or not name else f"{name}: {text}" for text in shown][:5]


def _step_examples(meant: Meant) -> list[str]:
    """A step by its name, and with the value that may stand behind it."""
    (step,) = meant.sections()
    needs = any(field.is_required() for field in step.model_fields.values())
    main = getattr(step, "main", None)
    of_main = Meant(step).step(main) if main else None
    value = (_default(of_main) if of_main else "").replace("null", "[question]")
    key = LISTED[meant.owner]
    bare = [] if needs else [f"{key}: [{meant.name}]"]
    return bare + ([f"{key}: [{meant.name}: {value}]"] if value else [])


def _notes(meant: Meant) -> list[str]:
    notes = []
    if meant.marked(MayHoldSecret) is not None:
        notes.append("May be ${secret.NAME}: the value is looked up only where it is used.")
    if meant.marked(OutsideKey) is not None:
        notes.append("Changes how, never what comes out: changing it reruns nothing.")
    return notes
