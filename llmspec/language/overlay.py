"""A target's overlay over the spec: mappings merge, lists and scalars replace, and each value keeps its origin."""

from dataclasses import replace
from typing import cast

from llmspec.language import fields
from llmspec.section import did_you_mean
from llmspec.source import Node, Source

DEFAULT_TARGET = "local"
_NOT_OVERLAID = {"default"}


def names(root: Node) -> dict[str, Node]:
    """The declared targets, as far as they can be read."""
    targets = root.value.get("targets")
    return targets.value if targets is not None and isinstance(targets.value, dict) else {}


def pick(root: Node) -> str:
    """The target that is meant when nobody says: the one with `default: true`, else local."""
    for name, node in names(root).items():
        default = node.value.get("default") if isinstance(node.value, dict) else None
        if default is not None and default.value is True:
            return name
    return DEFAULT_TARGET


def check(source: Source, target: str) -> str | None:
    """The cure, when no such target is declared."""
    known = [*names(source.root), *({DEFAULT_TARGET} - names(source.root).keys())]
    return None if target in known else did_you_mean(target, known)


def at_target(root: Node, target: str) -> Node:
    """The spec as it is there. Its `targets` stay as they were written."""
    overlay = names(root).get(target)
    if overlay is None or not isinstance(overlay.value, dict):
        return root
    from llmspec.spec.spec import Target

    keys = {key: node for key, node in overlay.value.items() if key in Target.model_fields and key not in _NOT_OVERLAID}
    return _merge(root, replace(overlay, value=keys), f"target {target}", fields.root())


def _merge(below: Node, above: Node, how: str, meant: fields.Meant | None) -> Node:
    if not isinstance(below.value, dict) or not isinstance(above.value, dict) or _another_choice(below, above, meant):
        return _stamped(above, how)
    merged = cast("dict[str, Node]", dict(below.value))
    for key, node in above.value.items():
        inner = meant.step(key) if meant else None
        merged[key] = _merge(merged[key], node, how, inner) if key in merged else _stamped(node, how)
    return replace(below, value=merged)


def _another_choice(below: Node, above: Node, meant: fields.Meant | None) -> bool:
    """{scratch: tiny} over {hub: …}, {spark: …} over {sail: …}: together they would be neither, so the upper one replaces."""
    if meant is None:
        return False
    kind = fields.chosen(meant, above.value)
    return kind is not None and kind != fields.chosen(meant, below.value)


def _stamped(node: Node, how: str) -> Node:
    if isinstance(node.value, dict):
        return replace(node, how=how, value={key: _stamped(item, how) for key, item in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, how=how, value=[_stamped(item, how) for item in node.value])
    return replace(node, how=how)
