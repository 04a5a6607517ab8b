"""`${var.x}` and `${env.NAME}` become values; `${secret.NAME}` stays, and only where a field may hold it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from llmspec.errors import Problem
from llmspec.language import fields
from llmspec.language.fields import Path
from llmspec.language.syntax import shorten
from llmspec.section import MayHoldSecret, Section, did_you_mean
from llmspec.source import Node, Source

_PIECE = re.compile(r"\$\$\{|\$\{([^{}\n]*)\}|\$\{")
_REFERENCE = re.compile(r"(var|env|secret)\.([A-Za-z_][A-Za-z0-9_-]*)")
_KINDS = ("var", "env", "secret")
_LONGEST = 100_000
"""Characters that one value may have once its references are filled in, and a hundredth of what all may have."""
_DEEPEST = 20
_MOST_FAULTS = 200


@dataclass
class References:
    """Fills in the references of one spec at one target."""

    source: Source
    variables: dict[str, Node]
    env: Mapping[str, str]
    needs_env: bool = True
    """Whether an unset variable is an error: for a target that is only looked at, it is not."""
    problems: list[Problem] = field(default_factory=list)
    _known: dict[str, Node] = field(default_factory=dict)
    _busy: list[str] = field(default_factory=list)
    _written: int = 0

    def fill(self, root: Node) -> Node:
        """The whole spec, references filled in. `targets` stay as written: each is filled in when it is chosen."""
        items = {}
        for key, node in root.value.items():
            if key == "vars" and isinstance(node.value, dict):
                items[key] = replace(node, value={name: self._variable(name) for name in node.value})
            else:
                items[key] = node if key == "targets" else self._fill(node, (key,))
        return replace(root, value=items)

    def _fill(self, node: Node, path: Path) -> Node:
        if isinstance(node.value, dict):
            return replace(node, value={key: self._fill(item, (*path, key)) for key, item in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[self._fill(item, (*path, at)) for at, item in enumerate(node.value)])
        return self._fill_text(node, path) if isinstance(node.value, str) and "${" in node.value else node

    def _fill_text(self, node: Node, path: Path) -> Node:
        before = len(self.problems)
        if before >= _MOST_FAULTS:
            return replace(node, spoiled=True)
        pieces = list(_PIECE.finditer(node.value))
        nodes = [self._piece(piece, node, path) for piece in pieces]
        if len(self.problems) > before or any(item is not None and item.spoiled for item in nodes):
            return replace(node, spoiled=True)
        first = nodes[0]
        if first is not None and pieces[0][0] == node.value:
            return replace(first, mark=node.mark, key=node.key, block=False)
        text, end = "", 0
        for piece, item in zip(pieces, nodes, strict=True):
            literal = "${" if piece[0] == "$${" else piece[0]
            text += node.value[end : piece.start()] + (item.raw if item is not None else literal)
            end = piece.end()
            if len(text) > _LONGEST or self._written + len(text) > 100 * _LONGEST:
                return self._fault(
                    node, path, piece[0], f"more than {_LONGEST:,} characters once it is filled in", "use fewer references"
                )
        text += node.value[end:]
        self._written += len(text)
        hows = [item.how for item in nodes if item is not None]
        how = next((how for how in hows if how.startswith("env ")), hows[0] if hows else node.how)
        return replace(node, value=text, raw=text, how=how)

    def _piece(self, piece: re.Match[str], node: Node, path: Path) -> Node | None:
        """The value behind one reference; None where the text stays."""
        if piece[0] == "$${":
            return None
        if piece[1] is None:
            self._fault(node, path, "${", "'${' is not closed", "add '}', or write '$${' for the characters themselves")
            return None
        if not (match := _REFERENCE.fullmatch(piece[1])):
            self._fault(node, path, piece[0], *_not_a_reference(piece[1]))
            return None
        kind, name = match[1], match[2]
        if kind == "secret":
            self._check_secret(node, path, piece[0])
            return None
        return self._from_env(name, node, path, piece[0]) if kind == "env" else self._from_vars(name, node, path, piece[0])

    def _from_env(self, name: str, node: Node, path: Path, written: str) -> Node:
        value = self.env.get(name)
        if value is not None:
            return Node(value, node.mark, raw=value, how=f"env {name}", untyped=True)
        if self.needs_env:
            cure = f"export {name}=… before you run llmspec, or write the value here"
            self._fault(node, path, written, f"the environment has no {name}", cure)
        return Node("", node.mark, how=f"env {name}", spoiled=True)

    def _from_vars(self, name: str, node: Node, path: Path, written: str) -> Node:
        if name not in self.variables:
            cure = did_you_mean(name, self.variables) or f"declare it: `vars: {{{name}: …}}`"
            self._fault(node, path, written, f"no var named '{name}'", cure)
            return Node("", node.mark, spoiled=True)
        if len(self._busy) > _DEEPEST and name not in self._known:
            self._fault(node, path, written, f"vars that need vars, more than {_DEEPEST} deep", "write some of them out")
            return Node("", node.mark, spoiled=True)
        if name in self._busy:
            chain = " → ".join([*self._busy[self._busy.index(name) :], name])
            self._fault(node, path, written, f"var '{name}' needs itself: {chain}", "give one of them a value of its own")
            return Node("", node.mark, spoiled=True)
        found = self._variable(name)
        spoiled = found.spoiled or isinstance(found.value, dict | list) or found.value is None
        return replace(found, how=found.how if found.how.startswith("env ") else f"var {name}", spoiled=spoiled)

    def _variable(self, name: str) -> Node:
        if name not in self._known:
            self._busy.append(name)
            self._known[name] = self._fill(self.variables[name], ("vars", name))
            self._busy.pop()
        return self._known[name]

    def _check_secret(self, node: Node, path: Path, written: str) -> None:
        meant = fields.at(path)
        if meant is None or meant.marked(MayHoldSecret) is None:
            allowed = ", ".join(secret_places())
            self._fault(node, path, written, "a secret may not be used here", f"it may be used in {allowed}")

    def _fault(self, node: Node, path: Path, written: str, fault: str, cure: str) -> Node:
        mark = self.source.find(node.mark, written)
        problem = self.source.problem(mark, fields.format_path(path), fault, cure)
        if problem not in self.problems and len(self.problems) < _MOST_FAULTS:
            self.problems.append(problem)
        return replace(node, spoiled=True)


def _not_a_reference(inside: str) -> tuple[str, str]:
    kind, dot, name = inside.partition(".")
    if not dot:
        return (
            f"${{{shorten(inside)}}} is not a reference",
            "write ${var.…}, ${env.…} or ${secret.…}, or '$${' for the characters themselves",
        )
    if kind.strip() not in _KINDS:
        near = did_you_mean(kind, _KINDS, listed=False)
        return f"there is no ${{{shorten(kind)}.…}}", near or "a reference is ${var.…}, ${env.…} or ${secret.…}"
    return f"'{shorten(name)}' is no name", "a name is letters, digits and '_', without spaces"


def secret_places() -> list[str]:
    """Where a spec may say ${secret.…}: every field marked so, of cards as well."""
    return sorted(_secrets_below(fields.root(), (), ()))


def _secrets_below(meant: fields.Meant, path: Path, above: tuple[type[Section], ...]) -> Iterator[str]:
    if meant.marked(MayHoldSecret) is not None:
        yield fields.format_path(path)
    inner: list[tuple[str, type[Section]]] = [("", section) for section in meant.sections()]
    if choice := meant.choice():
        inner += [(f".{name}", card) for name, card in choice.known().items()]
    for prefix, section in inner:
        for name in () if section in above else section.model_fields:
            step = fields.Meant(section).step(name)
            if step is not None:
                place = tuple(part for part in (*path, prefix.lstrip("."), name) if part != "")
                yield from _secrets_below(step, place, (*above, section))
