"""logs: one encrypted log group for each kind of work, and none that grows for ever."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.keys import Keys
from infra_pulumi.owner import Owner

KINDS = ("data", "training", "evaluation", "endpoint", "monitors", "build", "events", "network")

STEPS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Days for which CloudWatch keeps a log; it knows no others."""


@dataclass(frozen=True)
class LogsArgs:
    """How long logs are kept."""

    keep_days: int = 90
    """One of `STEPS`."""
    journal_days: int | None = None
    """Of the endpoint's group, which holds the journal: what users said may have to go sooner. As the others when absent."""

    def __post_init__(self) -> None:
        if wrong := {self.keep_days, self.journal_days or self.keep_days} - set(STEPS):
            raise ValueError(f"logs: CloudWatch does not keep for {', '.join(map(str, sorted(wrong)))} days; write one of {STEPS}")

    def days(self, kind: str) -> int:
        return self.journal_days or self.keep_days if kind == "endpoint" else self.keep_days


class Logs(pulumi.ComponentResource):
    """`/llmspec/<product>-<target>/<kind>`."""

    def __init__(self, owner: Owner, keys: Keys, args: LogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llmspec:aws:Logs", "logs", None, opts)
        self.groups = {
            kind: aws.cloudwatch.LogGroup(
                f"logs-{kind}",
                name=f"/llmspec/{owner.prefix}/{kind}",
                kms_key_id=keys.logs.arn,
                retention_in_days=args.days(kind),
                tags=owner.tagged(kind),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for kind in KINDS
        }
        self.register_outputs({kind: group.name for kind, group in self.groups.items()})
