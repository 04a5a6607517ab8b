"""A Pulumi program run under mocks: what it makes, with which options, and what it exports."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import set_root_resource

from llmspec.infra.listed import own_loop

ACCOUNT = "123456789012"
REGION = "eu-central-1"
UNNAMED = {"aws:emrserverless/application:Application": "00fabc", "aws:cognito/userPool:UserPool": "pool"}


@dataclass(frozen=True)
class Made:
    """One resource as the engine was asked for it."""

    kind: str
    """`aws:s3/bucket:Bucket`."""
    name: str
    inputs: dict[str, Any]
    secrets: frozenset[str]
    """Inputs that the state encrypts."""
    parent: str
    keeps: bool
    """It outlives a destroy."""
    provider: str
    """`aws`, or `aws-eu-west-1`: the region that it is made in."""
    after: tuple[str, ...] = ()
    """URNs that it waits for."""

    def documents(self) -> Iterator[dict[str, Any]]:
        """Its policies, with resources always a list."""
        for text in (value for key, value in self.inputs.items() if "olicy" in key and isinstance(value, str)):
            if text.startswith("{") and "Statement" in (found := json.loads(text)):
                for statement in found["Statement"]:
                    if isinstance(statement.get("Resource"), str):
                        statement["Resource"] = [statement["Resource"]]
                yield found


@dataclass
class World:
    """What a program made."""

    made: list[Made] = field(default_factory=list)
    components: list[tuple[str, str]] = field(default_factory=list)
    exports: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Made]:
        """By the end of its kind: `s3/bucket:Bucket`; name -> resource."""
        return {each.name: each for each in self.made if each.kind.removeprefix("aws:") == kind}

    def one(self, kind: str, name: str | None = None) -> Made:
        found = [each for each in self.of(kind).values() if name in (None, each.name)]
        assert len(found) == 1, f"{kind} {name}: {[each.name for each in found]}"
        return found[0]

    def names(self) -> set[tuple[str, str]]:
        return {(each.kind, each.name) for each in self.made}

    def statements(self) -> Iterator[tuple[Made, dict[str, Any]]]:
        """Every statement of every policy."""
        for each in self.made:
            for document in each.documents():
                yield from ((each, statement) for statement in document["Statement"])


def made_by(program: Callable[[], None]) -> World:
    """Run it; what it raises is raised here."""
    world = World()
    answers = _Answers()

    def go() -> pulumi.Output[None]:
        program()
        return pulumi.Output.from_input(dict(pulumi.runtime.get_root_resource().outputs)).apply(world.exports.update)

    with own_loop():
        set_root_resource(None)  # or it would still hold what the program before it exported
        pulumi.runtime.set_mocks(answers, project="llmspec", stack="test", preview=False, monitor=_Monitor(answers, world))
        pulumi.runtime.test(go)()
    return world


class _Answers(mocks.Mocks):
    """What AWS would answer: ids and ARNs made of names."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        inputs = _plain(args.inputs)
        if not args.custom:
            return "", inputs
        service = args.typ.split(":")[1].split("/")[0]
        called = str(inputs.get("name") or inputs.get("bucket") or UNNAMED.get(args.typ, args.name))
        arn = f"arn:aws:s3:::{called}" if args.typ == "aws:s3/bucket:Bucket" else f"arn:aws:{service}:{REGION}:{ACCOUNT}:{called}"
        known = {"arn": arn, "name": called, "keyId": f"{args.name}-key", "prefixListId": "pl-1"}
        known["repositoryUrl"] = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{called}"
        return called if service == "s3" else f"{args.name}-id", {**known, **inputs}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        answers = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT},
            "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": [f"{REGION}{letter}" for letter in "abc"]},
        }
        return answers[args.token]


class _Monitor(mocks.MockMonitor):
    """Keeps the options, which mocks are not told."""

    def __init__(self, answers: mocks.Mocks, world: World) -> None:
        super().__init__(answers)
        self._world = world

    def RegisterResource(self, request: Any) -> Any:
        reply = super().RegisterResource(request)
        if not request.custom:
            self._world.components.append((request.type, request.name))
        elif request.type.startswith("aws:"):
            raw = rpc.deserialize_properties(request.object, keep_unknowns=True)
            secrets = frozenset(name for name, value in raw.items() if rpc.is_rpc_secret(value))
            seen = (request.type, request.name, _plain(raw), secrets, request.parent)
            provider = request.provider.split("::")[-2]
            self._world.made.append(Made(*seen, bool(request.retainOnDelete), provider, tuple(request.dependencies)))
        return reply


def _plain(value: Any) -> Any:
    if rpc.is_rpc_secret(value):
        return _plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
