"""A file and a target become a validated spec, and every value knows where it was written. Or: all that is wrong, at once."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmspec.card import Place
from llmspec.errors import Problem, SpecError
from llmspec.language import faults, fields, overlay, sayings
from llmspec.language.mend import mend
from llmspec.language.references import References
from llmspec.language.scalars import resolve
from llmspec.site import Site
from llmspec.source import Node, Source, read
from llmspec.spec import Spec

_ROUNDS = 4


@dataclass(frozen=True)
class Origin:
    """Where a value came from."""

    file: str
    line: int
    """From 1; 0 for a default."""
    column: int
    how: str
    """`written`, `target prod`, `var region`, `env NAME` or `default`."""

    def __str__(self) -> str:
        if not self.line:
            return self.how
        place = f"{self.file}:{self.line}"
        return place if self.how == "written" else f"{place} ({self.how})"


@dataclass(frozen=True)
class Loaded:
    """A spec that holds, at one target."""

    spec: Spec
    path: Path
    target: str
    root: Node
    """What was written, overlaid and filled in."""
    source: Source
    elsewhere: "tuple[Loaded, ...]" = ()
    """The same file at its other targets, as far as they can be read here: one may lack its environment."""

    def place(self, stage: str) -> Place:
        """Where a stage is done, for this product and target."""
        return self.spec.place(stage).at(self.site)

    @property
    def site(self) -> Site:
        """For whom its places work."""
        return Site(self.spec, self.target, self.path)

    @property
    def as_typed(self) -> str:
        """File and target as a command takes them: a cure that named no target would be about the default one."""
        return f"{self.path}" + ("" if self.target == overlay.pick(self.source.root) else f" --target {self.target}")

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that the file declares."""
        return tuple(self.spec.targets)

    def at(self, path: str) -> str:
        """`specs/x.yaml:21`: where a value was written, or the nearest thing around it; empty for a default."""
        origin = self._origin(fields.parse_path(path))
        return f"{origin.file}:{origin.line}" if origin.line else ""

    def problem(self, where: str, fault: str, cure: str = "") -> Problem:
        """Something wrong with a value that only the world could tell."""
        origin = self._origin(fields.parse_path(where))
        node = self._node(fields.parse_path(where))
        return self.source.problem(node.spot() if origin.line else None, where, fault, cure)

    def excerpt(self, key: str) -> str:
        """What the file says under a top-level key, as it was written."""
        node = self.source.root.value.get(key)
        if node is None or node.key is None:
            return ""
        first, *rest = self.source.lines[node.key.line - 1 :]
        below = takewhile(lambda line: not line.strip() or line[0] in " #-", rest)
        return "\n".join([first, *below]).rstrip()

    @cached_property
    def origins(self) -> dict[str, Origin]:
        """Dotted path -> where it was written. Every value of the spec, defaults and shorthands as well."""
        return dict(self._origins(self.plain, ()))

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The resolved spec as JSON, without its targets."""
        return self.spec.model_dump(mode="json", exclude={"targets"})

    def _origins(self, value: Any, path: fields.Path) -> Iterator[tuple[str, Origin]]:
        if path:
            yield fields.format_path(path), self._origin(path)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for part, inner in items:
            yield from self._origins(inner, (*path, part))

    def _node(self, path: fields.Path) -> Node:
        """The node at a path, or the innermost one around it."""
        node = self.root
        for part in path:
            node = faults.child(node, part) or node
        return node

    def _origin(self, path: fields.Path) -> Origin:
        node: Node | None = self.root
        for at, part in enumerate(path):
            inner = faults.child(node, part) if node else None
            stays = node is not None and not (at and path[at - 1] == node.value) and _stands_for(node, part, path[:at])
            node = inner or (node if stays else None)
        if node is None:
            return Origin(str(self.path), 0, 0, "default")
        mark = node.spot()
        return Origin(str(self.path), mark.line, mark.column, node.how)


def _stands_for(node: Node, part: fields.Part, path: fields.Path) -> bool:
    """Whether a short form means this part without naming it: `sail` its card, `[answer]` the columns of a step."""
    if node.value is None or isinstance(node.value, dict):
        return False
    if node.value == part:
        return True
    meant = fields.at(path)
    return meant is not None and part in [getattr(it, "main", None) for it in meant.sections()]


def load(path: Path | str, target: str | None = None, env: Mapping[str, str] = os.environ) -> Loaded:
    """The spec in a file, at a target. Raises SpecError with everything that is wrong, for every target of the file."""
    path = Path(path)
    source = read(path)
    chosen = target or overlay.pick(source.root)
    problems = {_identity(problem): problem for problem in source.problems}
    if (cure := overlay.check(source, chosen)) is not None:
        mark = source.root.value["targets"].key if "targets" in source.root.value else None
        problem = source.problem(mark, "targets", f"no target named '{chosen}'", cure)
        problems[_identity(problem)] = problem
        chosen = overlay.DEFAULT_TARGET
    others = [name for name in list(overlay.names(source.root))[:50] if name != chosen]
    views = {name: _view(source, name, env, name == chosen) for name in (chosen, *others)}
    problems = _together({name: found for name, (_, _, found) in views.items()}, chosen) | problems
    if problems:
        raise SpecError(*sorted(problems.values(), key=lambda problem: (problem.line, problem.column)))
    spec, root, _ = views[chosen]
    assert spec is not None
    elsewhere = tuple(Loaded(other, path, name, at, source) for name, (other, at, _) in views.items() if other and name != chosen)
    return Loaded(spec, path, chosen, root, source, elsewhere)


def _view(source: Source, target: str, env: Mapping[str, str], chosen: bool) -> tuple[Spec | None, Node, list[Problem]]:
    """The spec at one target, and what is wrong with it there. A target that is not chosen may lack its environment."""
    root = overlay.at_target(source.root, target)
    variables = root.value.get("vars")
    known = variables.value if variables is not None and isinstance(variables.value, dict) else {}
    references = References(source, known, env, needs_env=chosen)
    root = references.fill(root)
    spec, root, found = _validate(root, source, look_behind=chosen)
    told = references.problems + found + (_unnamable(spec, target, root, source) if spec else [])
    return (
        spec,
        root,
        told + [it for it in _misnamed(root, source) if (it.line, it.column) not in {(p.line, p.column) for p in told}],
    )


def _misnamed(root: Node, source: Source) -> list[Problem]:
    """The name is the file's: a plan, a store and a URL that show the name then lead back to the file."""
    node, stem = root.value.get("name"), Path(source.file).stem
    if node is None or not isinstance(node.value, str) or node.spoiled or node.value == stem:
        return []
    fault = f"{sayings.shown(node)} is not the file's name"
    return [source.problem(node.spot(), "name", fault, f"write `name: {stem}`, or rename the file to {node.value[:63]}.yaml")]


LONGEST = 44
"""Letters of name and target in AWS: a role's name takes 64, and up to 20 say which role it is."""


def _unnamable(spec: Spec, target: str, root: Node, source: Source) -> list[Problem]:
    """What is made in AWS is called by name and target."""
    called = f"{spec.name}-{target}"
    if len(called) <= LONGEST or not spec.in_aws:
        return []
    fault = f"{called} is {len(called)} letters long, and in AWS there is room for {LONGEST}"
    return [source.problem(root.value["name"].spot(), "name", fault, "shorten the name, or the target's")]


def _validate(root: Node, source: Source, look_behind: bool) -> tuple[Spec | None, Node, list[Problem]]:
    try:
        return Spec.model_validate(root.plain()), root, []
    except ValidationError as error:
        found = faults.find(error, root)
        if misfits := faults.misfits(found):
            return _validate(_typed(root, {id(node) for node in misfits}), source, look_behind)
        behind = _behind(found, root, source) if look_behind else ()
        return None, root, [*sayings.explain(found, root, source), *behind]


def _behind(found: list[faults.Found], root: Node, source: Source) -> Iterator[Problem]:
    """Problems between fields, which pydantic only looks for once each field holds by itself."""
    mended: list[fields.Path] = []
    for _ in range(_ROUNDS):
        paths, root = mend(found, root)
        mended += paths
        try:
            Spec.model_validate(root.plain())
            return
        except ValidationError as error:
            found = faults.find(error, root)
        rules = [it for it in found if it.kind == "llmspec" and not any(_follows(it.path, path) for path in mended)]
        yield from sayings.explain(rules, root, source)
        if not paths:
            return


_PLACED = (
    "region",
    "governance",
    "endpoint.scale",
    "endpoint.rollout",
    "endpoint.variants",
    "monitors.notify",
    "monitors.dashboards",
)
"""What only some places make real."""


def _follows(path: fields.Path, mended: fields.Path) -> bool:
    """Whether a rule may be broken only because something was taken out: itself, a place, or its region or store."""
    if mended[0] == "places":
        return path == mended[: len(path)] or fields.format_path(path).startswith(_PLACED)
    return path == mended[: len(path)] or (mended[0] in ("region", "store") and path[:1] == ("places",))


def _typed(node: Node, misfits: set[int]) -> Node:
    """An environment variable is only text: where the field wants a number, it is read as YAML would read it."""
    if isinstance(node.value, dict):
        return replace(node, value={key: _typed(item, misfits) for key, item in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_typed(item, misfits) for item in node.value])
    return replace(node, value=resolve(node.value), untyped=False) if id(node) in misfits else node


def _identity(problem: Problem) -> tuple[Any, ...]:
    return problem.line, problem.column, problem.fault


def _together(found: dict[str, list[Problem]], chosen: str) -> dict[tuple[Any, ...], Problem]:
    """One problem is told once; targets are named when it is only there, and not at the one that was asked for."""
    merged: dict[tuple[Any, ...], Problem] = {}
    holders: dict[tuple[Any, ...], list[str]] = {}
    for target, problems in found.items():
        for problem in problems:
            merged.setdefault(_identity(problem), problem)
            holders.setdefault(_identity(problem), []).append(target)
    for key, targets in holders.items():
        if chosen not in targets:
            named = ", ".join(dict.fromkeys(targets))
            merged[key] = replace(merged[key], where=f"{merged[key].where} (target {named})".strip())
    return merged
