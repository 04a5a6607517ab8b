"""What a policy check is, what it looks at, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from llmspec.card import Place
from llmspec.errors import Problem
from llmspec.load import Loaded
from llmspec.machines import Machine, machine
from llmspec.registry import name_of
from llmspec.spec import Spec
from llmspec.spec.governance import Check

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that a check found."""

    check: str
    severity: Severity
    reason: str
    """Why anybody should care."""
    problem: Problem
    """Where it is, what is wrong, and how it is put right."""
    waived: str = ""
    """The spec's reason for letting it be."""

    @property
    def stops(self) -> bool:
        """Whether it must not be applied like this."""
        return self.severity == "error" and not self.waived


@dataclass(frozen=True)
class Fault:
    """What a check says; its rule adds the rest."""

    where: str
    fault: str
    fix: str
    severity: Severity | None = None
    """When it is not the rule's usual one."""


@dataclass(frozen=True)
class View:
    """A spec at a target, as checks ask of it."""

    loaded: Loaded

    @property
    def spec(self) -> Spec:
        return self.loaded.spec

    @property
    def strict(self) -> bool:
        """Whether people depend on it: a target by the name of prod."""
        return self.loaded.target.startswith("prod")

    @cached_property
    def inside(self) -> dict[str, Place]:
        """Stage -> its place, where that is in AWS."""
        return self.spec.in_aws

    @property
    def endpoint(self) -> Place | None:
        return self.inside.get("endpoint")

    def name(self, stage: str) -> str:
        return name_of(type(self.inside[stage]))

    def option(self, stage: str, name: str) -> Any:
        """An option of a stage's place; None when that place has none of this name."""
        return getattr(self.inside.get(stage), name, None)

    def machine(self, stage: str) -> Machine | None:
        """What the stage's place rents, when something is known about it."""
        instance = self.option(stage, "instance")
        serverless = self.option(stage, "form") == "serverless"
        return machine(instance) if instance and not serverless else None

    def written(self, *paths: str) -> str:
        """The first of these that the file says; the last when it says none."""
        return next((path for path in paths if self.loaded.at(path)), paths[-1])


@dataclass(frozen=True)
class Rule:
    """One check."""

    id: Check
    severity: Severity
    reason: str
    ask: Callable[[View], Iterator[Fault]]

    def findings(self, view: View, waived: str) -> Iterator[Finding]:
        for fault in self.ask(view):
            problem = view.loaded.problem(fault.where, fault.fault, fault.fix)
            yield Finding(self.id, fault.severity or self.severity, self.reason, problem, waived)


RULES: dict[Check, Rule] = {}


def rule(
    id: Check, severity: Severity, reason: str
) -> Callable[[Callable[[View], Iterator[Fault]]], Callable[[View], Iterator[Fault]]]:
    """Make a function a check."""

    def register(ask: Callable[[View], Iterator[Fault]]) -> Callable[[View], Iterator[Fault]]:
        assert id not in RULES
        RULES[id] = Rule(id, severity, reason, ask)
        return ask

    return register
