"""What was found wrong, said as a person would: the fault and its cure."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from llmspec.errors import Problem
from llmspec.language import faults, fields
from llmspec.language.faults import Found
from llmspec.language.fields import Path
from llmspec.language.syntax import shorten
from llmspec.section import Like, did_you_mean, format_duration
from llmspec.source import Mark, Node, Source

_EXPECTS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LIMITS = {
    "greater_than": ("gt", "must be above {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be below {}"),
    "less_than_equal": ("le", "must be at most {}"),
}


def explain(found: list[Found], root: Node, source: Source) -> list[Problem]:
    """Each error as a problem with its place; what follows from a problem already told is left out."""
    groups: dict[tuple[Path, bool], list[Found]] = defaultdict(list)
    for item in _without_misspelt(found):
        if not _spoiled(root, item.path):
            groups[(item.path, bool(item.label))].append(item)
    problems = []
    for (_, of_union), items in groups.items():
        problems += [_union(items, source)] if of_union and len(items) > 1 else [_say(item, source) for item in items]
    return [problem for problem in problems if problem is not None]


def _without_misspelt(found: list[Found]) -> list[Found]:
    """A key that is missing because it is misspelt is one problem, not two."""
    return [item for item in found if item.kind != "missing" or faults.misspelt(item, found) is None]


def _spoiled(root: Node, path: Path) -> bool:
    node: Node | None = root
    for part in path:
        if node is None or node.spoiled:
            break
        node = faults.child(node, part)
    return node is not None and node.spoiled


def _say(item: Found, source: Source) -> Problem | None:
    where, mark = item.path, item.node.spot()
    meant = (None if item.named else fields.at(item.loc)) or fields.at(item.path)
    fault, cure = _words(item, meant)
    if item.kind in ("extra_forbidden", "literal_key", "pattern_key"):
        key = faults.child(item.node, item.named)
        if key is not None and key.spoiled:
            return None
        mark = key.key if key is not None and key.key else mark
    if item.kind == "llmspec" and (word := item.context.get("word")):
        mark = _mark_of_word(item.node, str(word), source)
    if item.kind == "missing" and not item.path:
        mark = next((node.key for node in item.node.value.values() if node.key), mark) if item.node.value else mark
    if item.node.how.startswith("env ") and isinstance(item.node.value, str):
        fault = fault.replace(repr(item.node.value), f"the value of ${{{item.node.how.replace(' ', '.')}}}")
    return source.problem(mark, fields.format_path(where), fault, cure)


def _mark_of_word(node: Node, word: str, source: Source) -> Mark:
    if isinstance(node.value, dict):
        return next((item.key for key, item in node.value.items() if key == word and item.key), node.spot())
    visible = node.how == "written" or node.how.startswith("target")
    return source.find(node.mark, word) if visible and isinstance(node.value, str) else node.spot()


def _words(item: Found, meant: fields.Meant | None) -> tuple[str, str]:
    """The fault and its cure."""
    kind, context = item.kind, item.context
    if kind == "llmspec":
        return str(context.get("fault") or item.message), str(context.get("cure", ""))
    if kind == "missing":
        return _missing(item, meant)
    if kind in ("extra_forbidden", "literal_key"):
        return f"unknown key '{shorten(item.named)}'", _known_keys(item, meant)
    if kind in ("pattern_key", "string_pattern_mismatch"):
        return _pattern(item, meant)
    if kind == "literal_error":
        return _not_one_of(item)
    if kind in _EXPECTS:
        return _wrong_type(item, _EXPECTS[kind])
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = format_duration(context[name]) if meant and meant.is_duration() else _number(context[name])
        return f"{words.format(limit)}, and is {shown(item.node)}", _about(meant)
    return _other(item, meant)


def _missing(item: Found, meant: fields.Meant | None) -> tuple[str, str]:
    step = meant.step(item.named) if meant else None
    about = step.doc if step else ""
    cure = f"add `{item.named}: …`" + (f" ({fields.first_sentence(about)})" if about else "")
    return f"{item.named} is needed", cure


def _known_keys(item: Found, meant: fields.Meant | None) -> str:
    sections = meant.sections() if meant else []
    if meant is not None and not sections and isinstance(meant.annotation, type) and hasattr(meant.annotation, "model_fields"):
        sections = [meant.annotation]
    if item.kind == "literal_key":
        known = faults.options(item.context)
    elif meant is not None and len(sections) > 1 and isinstance(item.node.value, dict):
        written = fields.chosen(meant, item.node.value)
        known = [name for section in sections if written in section.model_fields for name in section.model_fields]
    else:
        known = [name for section in sections for name in section.model_fields]
    unused = [name for name in known if not isinstance(item.node.value, dict) or name not in item.node.value]
    return did_you_mean(str(item.named), unused) or ("take it out" if known else "it has no options: take it out")


def _pattern(item: Found, meant: fields.Meant | None) -> tuple[str, str]:
    value = item.named if item.kind == "pattern_key" else item.node.value
    like = meant.marked(Like) if meant else None
    if meant is not None and item.kind == "pattern_key":
        like = _key_like(meant) or like
    said = "the name " if item.kind == "pattern_key" else ""
    return f"{said}{shorten(value)!r} is not allowed here", like.words if like else f"it must match {item.context.get('pattern')}"


def _key_like(meant: fields.Meant) -> Like | None:
    """What a mapping's own names must be like."""
    for shape, _ in meant.shapes():
        if get_origin(shape) is dict:
            like = fields.Meant(get_args(shape)[0]).marked(Like)
            return like if isinstance(like, Like) else None
    return None


def _not_one_of(item: Found) -> tuple[str, str]:
    known = faults.options(item.context)
    if item.path == ("llmspec",):
        return f"version {shown(item.node)} of the language is not known", f"write `llmspec: {known[0]}`"
    text = shown(item.node)
    if item.node.value is None or isinstance(item.node.value, dict | list):
        return f"expects {_either(known)}, got {_named(item.node)}", ""
    fault = f"{text} is not one of {', '.join(known)}" if len(known) > 1 else f"{text} is not known here: it is always {known[0]}"
    return fault, did_you_mean(str(item.node.value), known, listed=False) or ("" if len(known) > 1 else f"write {known[0]}")


def _wrong_type(item: Found, expected: str) -> tuple[str, str]:
    node = item.node
    fault = f"expects {expected}, got {_named(node)}"
    if node.value is None:
        return fault, "write a value, or take the key out"
    if expected == "text" and not isinstance(node.value, dict | list):
        return fault, f'put it in quotes: "{shorten(node.raw)}"'
    if expected == "a list" and isinstance(node.value, str):
        return fault, f"write [{shorten(node.value)}]"
    if expected == "true or false" and str(node.value).lower() in ("yes", "on", "no", "off", "y", "n"):
        return fault, f"write {'true' if str(node.value).lower() in ('yes', 'on', 'y') else 'false'}"
    if "number" in expected and isinstance(node.value, str):
        return fault, _number_cure(node.value)
    return fault, ""


def _number_cure(text: str) -> str:
    bare = text.replace("_", "").replace(",", "")
    return f"write {bare}" if re.fullmatch(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", bare) else ""


def _other(item: Found, meant: fields.Meant | None) -> tuple[str, str]:
    match item.kind:
        case "string_too_short":
            return "is empty", _about(meant)
        case "too_short":
            return f"needs at least {_number(item.context.get('min_length', 1))}, and has {len(item.node.value or ())}", _about(
                meant
            )
        case "too_long":
            return f"has {len(item.node.value or ())}, and at most {item.context.get('max_length')} are allowed", ""
        case "finite_number":
            return f"must be a finite number, and is {shown(item.node)}", _about(meant)
        case "string_unicode":
            return "is not text that UTF-8 can hold", "remove the bytes that are no characters"
        case "value_error" | "assertion_error":
            return str(item.context.get("error", "is wrong")), _about(meant)
    return f"{shown(item.node)} is not allowed here ({item.kind.replace('_', ' ')})", _about(meant)


def _union(items: list[Found], source: Source) -> Problem | None:
    """Several forms were possible, and the value is none of them: said once, by the form it resembles most."""
    value = items[0].node.value
    close = [item for item in items if item.kind not in _EXPECTS and (item.kind != "literal_error" or isinstance(value, str))]
    if close:
        return _say(close[0], source)
    expected: list[str] = []
    for item in items:
        words = faults.options(item.context) if item.kind == "literal_error" else [_EXPECTS.get(item.kind, "another value")]
        expected += [word for word in words if word not in expected]
    node = items[0].node
    if "a whole number" in expected and "a number" in expected:
        expected.remove("a whole number")
    fault = f"expects {_either(expected)}, got {_named(node)}"
    return source.problem(
        node.spot(), fields.format_path(items[0].path), fault, "write a value, or take the key out" if value is None else ""
    )


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def shown(node: Node) -> str:
    """The value as a message shows it: what came from the environment is named, not shown."""
    if node.how.startswith("env "):
        return f"the value of ${{{node.how.replace(' ', '.')}}}"
    if isinstance(node.value, str):
        return f"'{shorten(node.value)}'"
    return shorten(node.raw or node.plain())


def _named(node: Node) -> str:
    """'text 'abc'', 'the number 3', 'a list'."""
    match node.value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return shown(node)
        case str():
            return f"text {shown(node)}" if not node.how.startswith("env ") else shown(node)
    return f"the number {shown(node)}"


def _number(value: Any) -> str:
    return (
        f"{value:,}"
        if isinstance(value, int) and abs(value) >= 10_000
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _about(meant: fields.Meant | None) -> str:
    return fields.first_sentence(meant.doc) if meant else ""
