"""A spec without what is wrong in it, so that the rules between fields can be asked as well: all problems at once."""

from dataclasses import replace

from llmspec.language import faults, fields
from llmspec.language.faults import Found
from llmspec.language.fields import Part, Path
from llmspec.section import did_you_mean
from llmspec.source import Node

_GONE = object()


def mend(found: list[Found], root: Node) -> tuple[list[Path], Node]:
    """The places that were changed, and the spec that is left."""
    paths = []
    for item in sorted(found, key=lambda item: (len(item.path), [str(part).zfill(9) for part in item.path]), reverse=True):
        before = root
        root = _mend(item, found, root)
        if root is not before:
            paths.append((*item.path, item.named) if item.named else item.path)
    return paths, root


def _mend(item: Found, found: list[Found], root: Node) -> Node:
    if item.kind == "missing":
        word = faults.misspelt(item, found)
        moved = faults.child(item.node, word) if word else None
        return root if moved is None else _put(root, (*item.path, item.named), moved)
    if item.named:
        return _put(root, (*item.path, item.named), _GONE)
    if not item.path:
        return root
    if _needed(item.path):
        near = did_you_mean(str(item.node.value), faults.options(item.context), listed=False)
        return _put(root, item.path, replace(item.node, value=near.split("'")[1])) if near else root
    return _put(root, item.path, _GONE)


def _needed(path: Path) -> bool:
    """Whether a spec without it would be wrong in another way."""
    meant = fields.at(path)
    named = meant is not None and meant.field is not None and path[-1] == meant.name
    return bool(named and meant and meant.field and meant.field.is_required())


def _put(node: Node, path: Path, new: object) -> Node:
    """The same nodes with another one at a path, or none."""
    if not path:
        return new if isinstance(new, Node) else node
    first, rest = path[0], path[1:]
    below = faults.child(node, first)
    if below is None and (rest or not isinstance(new, Node)):
        return node
    if not rest and new is _GONE:
        return _without(node, first)
    inner = _put(below, rest, new) if below is not None else new
    if isinstance(node.value, dict):
        return replace(node, value={**node.value, first: inner})
    return replace(node, value=[inner if at == first else item for at, item in enumerate(node.value)])


def _without(node: Node, part: Part) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={key: item for key, item in node.value.items() if key != part})
    return replace(node, value=[item for at, item in enumerate(node.value) if at != part])
