"""What would happen to one thing in the cloud, read from the engine's events. Light: no Pulumi here."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Op = Literal["create", "update", "replace", "delete", "same"]
OPS: Mapping[str, Op] = {
    "same": "same",
    "read": "same",
    "create": "create",
    "import": "create",
    "update": "update",
    "delete": "delete",
    "discard": "delete",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "discard-replaced": "replace",
    "import-replacement": "replace",
    "remove-pending-replace": "replace",
}
"""The engine's steps -> what becomes of the thing. A refresh is no step of its own: its result is one of these."""
HOLDS: Mapping[str, str] = {
    "aws:s3/bucket:Bucket": "every object in it",
    "aws:kms/key:Key": "all that it encrypted",
    "aws:cognito/userPool:UserPool": "its users",
    "aws:backup/vault:Vault": "the backups in it",
    "aws:ecr/repository:Repository": "its images",
    "aws:cloudwatch/logGroup:LogGroup": "its log lines",
    "aws:glue/catalogDatabase:CatalogDatabase": "its tables",
    "aws:secretsmanager/secret:Secret": "its value",
    "aws:dynamodb/table:Table": "its rows",
    "aws:efs/fileSystem:FileSystem": "its files",
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream": "what it has not delivered yet",
}
"""Types that hold what cannot be made again -> what is lost with them."""
SECRETS = frozenset(
    {
        "aws:secretsmanager/secretVersion:SecretVersion",
        "aws:apigateway/apiKey:ApiKey",
        "aws:apigateway/usagePlanKey:UsagePlanKey",
    }
)
"""Types that are a secret's value: whoever may only look cannot read them."""


@dataclass(frozen=True)
class CloudChange:
    """One resource and what would become of it."""

    op: Op
    type: str
    """`aws:s3/bucket:Bucket`."""
    name: str
    urn: str = ""
    keys: tuple[str, ...] = ()
    """The properties that differ: `tags["llmspec:release"]`."""
    forced_by: tuple[str, ...] = ()
    """Those among them that AWS cannot change in place."""
    kept: bool = False
    """It leaves the stack and stays in AWS."""

    @property
    def loses_data(self) -> str:
        """What is lost for good; empty when nothing is."""
        return HOLDS.get(self.type, "") if self.op in ("replace", "delete") and not self.kept else ""

    @property
    def reason(self) -> str:
        if self.op == "replace":
            why = (
                f"{' and '.join(self.forced_by)} cannot be changed in place" if self.forced_by else "it cannot be changed in place"
            )
            return f"{why}; the old one stays, outside the stack" if self.kept else why
        if self.op == "delete":
            return "nothing asks for it; it leaves the stack and stays in AWS" if self.kept else "nothing asks for it"
        return f"{', '.join(self.keys)} {'differs' if len(self.keys) == 1 else 'differ'}" if self.op == "update" else ""

    @property
    def kind(self) -> str:
        """`s3 Bucket`."""
        return called(self.type)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reason": self.reason, "loses_data": self.loses_data}


def called(type_: str) -> str:
    """`aws:s3/bucket:Bucket` -> `s3 Bucket`."""
    parts = type_.split(":")
    return f"{parts[1].split('/')[0]} {parts[2]}" if len(parts) == 3 else type_


def real(type_: str) -> bool:
    """Whether it is a thing in the cloud: components, providers and the stack itself only order the others."""
    return not type_.startswith(("pulumi:", "llmspec:"))


@dataclass
class Steps:
    """Hears the engine's events and keeps one change for each resource, in the order in which they came."""

    refreshing: bool = False
    """Of a refresh only the results count."""
    found: dict[str, CloudChange] = field(default_factory=dict)

    def hear(self, event: Any) -> None:
        seen = event.res_outputs_event if self.refreshing else event.resource_pre_event
        if seen is None or not real(seen.metadata.type):
            return
        step = seen.metadata
        op = OPS.get(str(step.op.value))
        if op is not None:
            self.found[step.urn] = _merged(self.found.get(step.urn), _change(op, step))

    def changes(self) -> list[CloudChange]:
        """Without what stays as it is."""
        return [change for change in self.found.values() if change.op != "same"]


def _change(op: Op, step: Any) -> CloudChange:
    detailed = step.detailed_diff or {}
    forced = [path for path, diff in detailed.items() if diff.diff_kind.value.endswith("-replace")] or step.keys or []
    keys = list(detailed) or step.diffs or []
    kept = op in ("replace", "delete") and bool(step.old and step.old.retain_on_delete)
    return CloudChange(op, step.type, step.urn.split("::")[-1], step.urn, tuple(keys), tuple(forced), kept)


def _merged(before: CloudChange | None, now: CloudChange) -> CloudChange:
    """A replacement comes in three steps; whichever says most is believed."""
    if before is None:
        return now
    keys, forced = before.keys or now.keys, before.forced_by or now.forced_by
    op: Op = "replace" if "replace" in (before.op, now.op) else now.op
    return CloudChange(op, now.type, now.name, now.urn, keys, forced, before.kept or now.kept)


def counted(changes: Iterable[CloudChange]) -> str:
    """'12 to create, 1 to replace'."""
    every = list(changes)
    ops: tuple[Op, ...] = ("create", "update", "replace", "delete")
    numbers = {op: sum(change.op == op for change in every) for op in ops}
    return ", ".join(f"{number} to {op}" for op, number in numbers.items() if number) or "nothing to change"
