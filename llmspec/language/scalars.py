"""What a plain word in YAML is: YAML 1.2's core schema, so `yes` is text, `1e-5` is a number and a date stays as written."""

import re
from typing import Any

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 300
_PREFIX = "tag:yaml.org,2002:"
_KINDS: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}

Fault = tuple[str, str]
"""A fault and its cure."""


def resolve(text: str) -> Any:
    """'3' -> 3, 'true' -> True, '' -> None, 'yes' -> 'yes'."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def plain_value(text: str, tag: str | None, plain: bool) -> tuple[Any, Fault | None]:
    """A scalar's value, by its tag or its looks, and what is wrong with it."""
    if tag is None:
        return (resolve(text) if plain else text), None
    kind = tag.removeprefix(_PREFIX)
    if tag == "!" or kind == "str":
        return text, None
    if kind not in _KINDS:
        return text, (f"the tag {tag[:60]} is not known", "take it out: a spec needs no tags")
    value: Any = resolve(text)
    if not isinstance(value, _KINDS[kind]) or (kind == "int" and isinstance(value, bool)):
        return text, (f"{text[:60]!r} is not !!{kind}", "take the tag out")
    return (float(value) if kind == "float" and isinstance(value, int) else value), None
