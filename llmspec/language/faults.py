"""What pydantic found wrong, each with the place in the file where it was written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from llmspec.language import fields
from llmspec.language.fields import Part, Path
from llmspec.section import did_you_mean
from llmspec.source import Node

_KEY = "[key]"
_MOST = 200
"""Errors that are explained; a file with more is better repaired in parts."""


@dataclass(frozen=True)
class Found:
    """One error, and the node it is about."""

    kind: str
    path: Path
    """As it is written in YAML: without the names of union members."""
    node: Node
    parent: Node
    named: Part
    """The key that is missing or unknown, for errors about keys."""
    label: str
    """The member of a union that it speaks for."""
    loc: Path
    message: str
    """What pydantic says of it."""
    context: dict[str, Any]


def find(error: ValidationError, root: Node) -> list[Found]:
    """Each error with the node it is about."""
    return [_find(item, root) for item in error.errors(include_url=False)[:_MOST]]


def misspelt(missing: Found, found: list[Found]) -> str | None:
    """The unknown key beside it that was probably meant to be the missing one."""
    unknown = (str(item.named) for item in found if item.kind == "extra_forbidden" and item.path == missing.path)
    return next((word for word in unknown if did_you_mean(word, [str(missing.named)], listed=False)), None)


def misfits(found: list[Found]) -> list[Node]:
    """Text from the environment in fields that want a number or a truth value."""
    return [item.node for item in found if item.node.untyped and item.kind in ("int_type", "float_type", "bool_type")]


def locate(root: Node, loc: Sequence[Part]) -> tuple[Path, list[Node]]:
    """The nodes on the way to an error. A part that is no key there is a union's label, or stands for a shorthand: skipped.

    A label may be spelled like a key (`base: {hub: …}` has the label `hub`), so both readings are tried, and the one that
    arrives with fewest parts left over wins.
    """
    best: tuple[tuple[int, int], Path, list[Node]] = ((-1, 0), (), [root])
    readings: list[tuple[int, int, Path, list[Node]]] = [(0, 0, (), [root])]
    while readings:
        at, skipped, path, nodes = readings.pop()
        if at == len(loc):
            arrived = bool(loc) and bool(path) and path[-1] == loc[-1]
            if (score := (int(arrived), -skipped)) > best[0]:
                best = (score, path, nodes)
            continue
        if skipped < 4:
            readings.append((at + 1, skipped + 1, path, nodes))
        if (inner := child(nodes[-1], loc[at])) is not None:
            readings.append((at + 1, skipped, (*path, loc[at]), [*nodes, inner]))
    return best[1], best[2]


def child(node: Node, part: Part) -> Node | None:
    """The node below, by key or index."""
    if isinstance(node.value, dict):
        found = node.value.get(part)
    elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        found = node.value[part]
    else:
        found = None
    return found if isinstance(found, Node) else None


def _find(item: Any, root: Node) -> Found:
    loc: Path = tuple(item["loc"])
    kind, context = item["type"], item.get("ctx", {})
    named: Part = ""
    if loc and loc[-1] == _KEY:
        kind, loc = ("literal_key" if kind == "literal_error" else "pattern_key"), loc[:-1]
    if kind in ("missing", "extra_forbidden", "literal_key", "pattern_key"):
        named, loc = loc[-1], loc[:-1]
    if kind == "llmspec" and context.get("at"):
        loc = (*loc, *fields.parse_path(context["at"]))
    path, nodes = _locate_mapping(root, loc) if kind == "missing" else locate(root, loc)
    label = str(loc[-1]) if loc and len(path) < len(loc) and kind != "llmspec" and _is_label(loc, path) else ""
    return Found(kind, path, nodes[-1], nodes[-2] if len(nodes) > 1 else root, named, label, loc, item["msg"], context)


def _locate_mapping(root: Node, loc: Path) -> tuple[Path, list[Node]]:
    """What a key is missing from is a mapping: `{hub: x/y}` without a revision, never the text `x/y`."""
    path, nodes = locate(root, loc)
    while (
        len(nodes) > 1
        and loc
        and not isinstance(nodes[-1].value, dict)
        and isinstance(nodes[-2].value, dict)
        and loc[-1] == path[-1]
    ):
        path, nodes = path[:-1], nodes[:-1]
    return path, nodes


def _is_label(loc: Path, path: Path) -> bool:
    """Whether the last part names a member of a union at the place that was found."""
    meant = fields.at(path)
    return meant is not None and len(list(meant.shapes())) > 1 and path == loc[: len(path)] and len(loc) == len(path) + 1


def options(context: dict[str, Any]) -> list[str]:
    return [text or number for text, number in re.findall(r"'([^']*)'|(-?\d+)", str(context.get("expected", "")))]
