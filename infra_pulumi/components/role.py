"""A role that AWS's services take on: who may, and what it may then do, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

SILENT = ("s3", "backup", "firehose")
"""Services for which AWS documents no account of origin, so none can be asked for."""


@dataclass(frozen=True)
class RoleArgs:
    """One role."""

    stage: str
    services: tuple[str, ...] = ()
    """`sagemaker`, `ecs-tasks`: those services take it on, and only for this account."""
    allows: tuple[Statement, ...] = ()
    trusts: tuple[Statement, ...] = ()
    """Further ways to take it on."""
    managed: Sequence[str] = ()
    """ARNs of policies that AWS keeps."""
    boundary: pulumi.Input[str] | None = field(default=None)
    """No more than this, whatever else it is given."""
    keep: bool = False
    """`destroy` leaves it to what goes on with it."""


class Role(pulumi.ComponentResource):
    """`<product>-<target>-<name>`."""

    def __init__(self, owner: Owner, account: Account, name: str, args: RoleArgs, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:Role", name, None, opts)
        mine = pulumi.ResourceOptions(parent=self, retain_on_delete=args.keep)
        role = aws.iam.Role(
            name,
            name=f"{owner.prefix}-{name}",
            assume_role_policy=document(*_trusts(args, account)),
            permissions_boundary=args.boundary,
            tags=owner.tagged(args.stage),
            opts=mine,
        )
        for policy in args.managed:
            title = policy.rsplit("/", 1)[-1]
            aws.iam.RolePolicyAttachment(f"{name}-{title}", role=role.name, policy_arn=policy, opts=mine)
        made: list[pulumi.Resource] = [role]
        if args.allows:
            made.append(aws.iam.RolePolicy(name, name=name, role=role.name, policy=document(*args.allows), opts=mine))
        # Whoever takes the role on at once must already be allowed: the ARN comes with the policy, not before it.
        self.name = role.name
        self.arn: pulumi.Output[str] = pulumi.Output.all(role.arn, *[each.urn for each in made]).apply(lambda found: str(found[0]))
        self.register_outputs({"arn": self.arn})


def _trusts(args: RoleArgs, account: Account) -> tuple[Statement, ...]:
    """One statement a service: those that say for whom they act are asked."""
    services = (
        Statement(
            ("sts:AssumeRole",),
            principals={"Service": f"{service}.amazonaws.com"},
            conditions={} if service in SILENT else account.here(),
        )
        for service in args.services
    )
    return (*services, *args.trusts)
