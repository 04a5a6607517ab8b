"""logs: one encrypted log group for each kind of work, and none that grows for ever."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.keys import Keys
from infra_pulumi.owner import Owner

KINDS = ("data", "training", "evaluation", "endpoint", "monitors", "build", "events", "network")


@dataclass(frozen=True)
class LogsArgs:
    """How long logs are kept."""

    keep_days: int = 90
    """One of the numbers that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365 …"""


class Logs(pulumi.ComponentResource):
    """`/llmspec/<product>-<target>/<kind>`."""

    def __init__(self, owner: Owner, keys: Keys, args: LogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llmspec:aws:Logs", "logs", None, opts)
        self.groups = {
            kind: aws.cloudwatch.LogGroup(
                f"logs-{kind}",
                name=f"/llmspec/{owner.prefix}/{kind}",
                kms_key_id=keys.logs.arn,
                retention_in_days=args.keep_days,
                tags=owner.tagged(kind),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for kind in KINDS
        }
        self.register_outputs({kind: group.name for kind, group in self.groups.items()})
