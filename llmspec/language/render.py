"""The spec as it is at a target, in YAML that could be loaded again, each value with its origin behind it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from llmspec.language import fields
from llmspec.language.scalars import resolve
from llmspec.load import Loaded
from llmspec.section import MayHoldSecret

_PLAIN = re.compile(r"[A-Za-z0-9_./~$](?:[\w./~${}@+*-]|:(?=\S)|,(?=\S)| (?=[^\s#]))*")
_FLOW = re.compile(r"[,\[\]{}]")
_WIDTH = 56


def render(loaded: Loaded) -> str:
    """The resolved YAML."""
    head = f"# {loaded.path} at target {loaded.target}\n"
    return head + "".join(f"{line}\n" for line in _mapping(loaded, loaded.plain, (), 0))


def _mapping(loaded: Loaded, value: dict[str, Any], path: fields.Path, depth: int) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(loaded, f"{'  ' * depth}{scalar(key)}:", item, (*path, key), depth)


def _entry(loaded: Loaded, start: str, value: Any, path: fields.Path, depth: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield start
        yield from _mapping(loaded, value, path, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield start
        for at, item in enumerate(value):
            yield from _item(loaded, item, (*path, at), depth + 1)
    else:
        origin = loaded.origins[fields.format_path(path)]
        yield f"{start} {_inline(value, path)}".ljust(_WIDTH) + f"  # {origin}"


def _item(loaded: Loaded, value: Any, path: fields.Path, depth: int) -> Iterator[str]:
    lines = list(_mapping(loaded, value, path, depth + 1)) if isinstance(value, dict) and value else []
    if not lines:
        yield f"{'  ' * depth}- {_inline(value, path)}"
        return
    indent = "  " * (depth + 1)
    yield f"{'  ' * depth}- {lines[0].removeprefix(indent)}"
    yield from lines[1:]


def _inline(value: Any, path: fields.Path) -> str:
    if isinstance(value, list):
        return f"[{', '.join(scalar(_escaped(item, (*path, at)), flow=True) for at, item in enumerate(value))}]"
    return scalar(_escaped(value, path))


def _escaped(value: Any, path: fields.Path) -> Any:
    """A '${' that is only text is written '$${', so that it stays text; a secret's reference stays a reference."""
    if not isinstance(value, str) or "${" not in value:
        return value
    meant = fields.at(path)
    return value if meant and meant.marked(MayHoldSecret) else value.replace("${", "$${")


def scalar(value: Any, flow: bool = False) -> str:
    """One value as YAML: bare when it reads back as itself, else quoted."""
    if isinstance(value, str):
        bare = _PLAIN.fullmatch(value) and isinstance(resolve(value), str) and not (flow and _FLOW.search(value))
        return value if bare else json.dumps(value, ensure_ascii=False)
    if value == {}:
        return "{}"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
