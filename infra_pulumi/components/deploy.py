"""GitHub's door: a workflow of one repository and environment deploys, without a key that could be stolen."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.deploy_calls import CALLS, everywhere
from infra_pulumi.components.duties import UPLOADS, WRITE
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

ISSUER = "token.actions.githubusercontent.com"
SERVICE_ROLES = ("function", "machines", "pods", "shift", "starter-*", "webhook")
"""The roles that the service stack has of its own, by what follows the product's name."""


@dataclass(frozen=True)
class DeployArgs:
    """Who may deploy from GitHub, and to which places."""

    repository: str
    """`owner/name`."""
    environment: str
    """The environment of GitHub that must have approved the run."""
    owner_id: int | None = None
    """Numbers that GitHub never gives twice (`gh api repos/OWNER/NAME`): with them nobody who takes over a name gets in."""
    repository_id: int | None = None
    provider_arn: str | None = None
    """GitHub's provider, where the account already has it: AWS takes one for each issuer. None: it is made."""
    places: tuple[str, ...] = ("sagemaker",)
    """Where the spec works: `sagemaker`, `emr`, `ecs`, `lambda`."""
    state: str | None = None
    """`s3://bucket/folder` of Pulumi's state."""

    def __post_init__(self) -> None:
        faults = [f"no calls are known for {place} (known: {', '.join(CALLS)})" for place in self.places if place not in CALLS]
        if self.repository.count("/") != 1 or "*" in self.repository + self.environment:
            faults.append(f"repository {self.repository!r} is not OWNER/NAME, or it or the environment holds a '*'")
        if (self.owner_id is None) != (self.repository_id is None):
            faults.append("give owner_id and repository_id, or neither")
        if faults:
            raise ValueError("deploy: " + "; ".join(faults))

    def subjects(self) -> list[str]:
        """Repositories made since July 2026 carry their numbers in a token's subject; elder ones do not."""
        owner, name = self.repository.split("/")
        numbers = (self.owner_id, self.repository_id) if self.owner_id else ("*", "*")
        newer = f"repo:{owner}@{numbers[0]}/{name}@{numbers[1]}:environment:{self.environment}"
        return [f"repo:{self.repository}:environment:{self.environment}", newer]


@dataclass(frozen=True)
class Ground:
    """What the deployer works with and on."""

    bucket: str
    product: str
    key: pulumi.Output[str]
    boundary: pulumi.Output[str]
    roles: tuple[pulumi.Output[str], ...]
    """The jobs' roles, which it hands to services and cannot change."""


class Deployer(pulumi.ComponentResource):
    """The service stack is made by this role. The foundation, this role included, is made by people."""

    def __init__(self, owner: Owner, account: Account, args: DeployArgs, ground: Ground, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:Deployer", "deployer", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        self.issuer: pulumi.Input[str] = args.provider_arn or self._issuer(owner, mine)
        wanted = RoleArgs(
            stage="identity",
            trusts=(self._trust(args),),
            allows=(
                *_of_the_product(ground, account),
                *_of_roles(owner, account, ground),
                *everywhere(owner, account),
                *(_of_state(args.state, account) if args.state else ()),
            ),
            # A nightly look for drift reads how things are set up, and no content.
            managed=(account.managed("SecurityAudit"),),
        )
        self.role = Role(owner, account, "deploy", wanted, mine)
        for place in args.places:
            self._may_work_at(place, owner, account)
        self.register_outputs({"role": self.role.arn})

    def _may_work_at(self, place: str, owner: Owner, account: Account) -> None:
        """A policy for each place: all of them in the role would be more letters than IAM takes."""
        mine = pulumi.ResourceOptions(parent=self)
        policy = aws.iam.Policy(
            f"deploy-{place}",
            name=f"{owner.prefix}-deploy-{place}",
            description=f"What a deployment asks of {place}",
            policy=document(*CALLS[place](owner, account)),
            tags=owner.tagged("identity"),
            opts=mine,
        )
        aws.iam.RolePolicyAttachment(f"deploy-{place}", role=self.role.name, policy_arn=policy.arn, opts=mine)

    def _issuer(self, owner: Owner, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
        issuer = aws.iam.OpenIdConnectProvider(
            "github", url=f"https://{ISSUER}", client_id_lists=["sts.amazonaws.com"], tags=owner.tagged("identity"), opts=opts
        )
        return issuer.arn

    def _trust(self, args: DeployArgs) -> Statement:
        # Never "for all values", which also holds for a token without that value.
        conditions: dict[str, dict[str, str | list[str]]] = {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"}}
        # Without GitHub's numbers any number of that name is let in.
        compared = "StringEquals" if args.owner_id else "StringLike"
        conditions.setdefault(compared, {})[f"{ISSUER}:sub"] = args.subjects()
        return Statement(("sts:AssumeRoleWithWebIdentity",), principals={"Federated": self.issuer}, conditions=conditions)


def _of_the_product(ground: Ground, account: Account) -> tuple[Statement, ...]:
    """Plans read manifests, and an apply writes jobs, releases and pointers."""
    objects = ("s3:GetObject", *WRITE)
    listed = {"StringLike": {"s3:prefix": [f"{ground.product}*"]}}
    return (
        Statement(("s3:GetBucketLocation", *UPLOADS), (account.bucket(ground.bucket),)),
        Statement(("s3:ListBucket",), (account.bucket(ground.bucket),), listed),
        Statement(objects, (account.bucket(f"{ground.bucket}/{ground.product}*"),)),
        Statement(("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"), (ground.key,)),
        Statement(("kms:CreateGrant",), (ground.key,), {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    )


def _of_roles(owner: Owner, account: Account, ground: Ground) -> tuple[Statement, ...]:
    """It hands the jobs' roles to services, and makes the service stack's own below the boundary."""
    own = tuple(account.arn("iam", f"role/{owner.prefix}-{name}", region="") for name in SERVICE_ROLES)
    takers = ("sagemaker", "ecs-tasks", "lambda", "emr-serverless", "scheduler", "codedeploy")
    services = [f"{name}.amazonaws.com" for name in takers]
    below = {"StringEquals": {"iam:PermissionsBoundary": ground.boundary}}
    make = ("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:AttachRolePolicy", "iam:DetachRolePolicy")
    keep = (
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:TagRole",
        "iam:DeleteRole",
    )
    return (
        Statement(("iam:PassRole",), (*ground.roles, *own), {"StringEquals": {"iam:PassedToService": services}}),
        Statement(make, own, below),
        Statement((*keep, "iam:ListInstanceProfilesForRole"), own),
    )


def _of_state(state: str, account: Account) -> tuple[Statement, ...]:
    bucket, _, folder = state.removeprefix("s3://").partition("/")
    below = f"{folder.strip('/')}/" if folder.strip("/") else ""
    whole = "" if below else "The state has this bucket to itself"
    return (
        Statement(("s3:ListBucket",), (account.bucket(bucket),), {"StringLike": {"s3:prefix": [f"{below}*"]}}),
        Statement(("s3:GetObject", "s3:PutObject", "s3:DeleteObject"), (account.bucket(f"{bucket}/{below}*"),), reason=whole),
    )
