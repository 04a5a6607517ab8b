"""GitHub's doors: from one environment of a repository a workflow deploys, from another it looks. There is no key to steal."""

from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.data import database_name
from infra_pulumi.components.deploy_calls import CALLS, everywhere
from infra_pulumi.components.deploy_watching import machines, named, watching
from infra_pulumi.components.duties import UPLOADS, WRITE
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

ISSUER = "token.actions.githubusercontent.com"
SERVICE_ROLES = ("function", "machines", "pods", "shift", "starter-*", "webhook")
"""The roles that the service stack has of its own, by what follows the product's name."""
READING = "-plan"
"""What ends the name of the environment in which nothing is changed: `prod-plan`."""
CONTENT = ("secretsmanager:GetSecretValue", "logs:GetLogEvents", "logs:FilterLogEvents", "ecr:BatchGetImage")
"""Looks that would show a secret, what people asked, or an image. A function is an image's name, or our own few lines."""


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
    """`s3://bucket` or `s3://bucket/folder` of Pulumi's state; its key has the alias `<bucket>`."""
    zones: tuple[str, ...] = ()
    """Hosted zones of Route 53 in which the endpoint gets its name."""

    def __post_init__(self) -> None:
        faults = [f"no calls are known for {place} (known: {', '.join(CALLS)})" for place in self.places if place not in CALLS]
        if self.repository.count("/") != 1 or "*" in self.repository + self.environment:
            faults.append(f"repository {self.repository!r} is not OWNER/NAME, or it or the environment holds a '*'")
        if (self.owner_id is None) != (self.repository_id is None):
            faults.append("give owner_id and repository_id, or neither")
        if faults:
            raise ValueError("deploy: " + "; ".join(faults))

    def subjects(self, environment: str) -> list[str]:
        """Repositories made since July 2026 carry their numbers in a token's subject; elder ones do not."""
        owner, name = self.repository.split("/")
        numbers = (self.owner_id, self.repository_id) if self.owner_id else ("*", "*")
        newer = f"repo:{owner}@{numbers[0]}/{name}@{numbers[1]}:environment:{environment}"
        return [f"repo:{self.repository}:environment:{environment}", newer]


@dataclass(frozen=True)
class Ground:
    """What the deployer works with and on."""

    bucket: str
    product: str
    key: pulumi.Output[str]
    boundary: pulumi.Output[str]
    roles: tuple[pulumi.Output[str], ...]
    """The jobs' roles and the one that carries lines of logs, which it hands to services and cannot change."""


class Deployer(pulumi.ComponentResource):
    """The service stack is made by this role. The foundation, this role included, is made by people."""

    def __init__(self, owner: Owner, account: Account, args: DeployArgs, ground: Ground, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:Deployer", "deployer", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        self.issuer: pulumi.Input[str] = args.provider_arn or self._issuer(owner, mine)
        wanted = RoleArgs(
            stage="identity",
            trusts=(self._trust(args, args.environment),),
            allows=(
                *_of_the_product(ground, account),
                *_of_roles(owner, account, ground),
                *everywhere(owner, account),
                *(_of_state(args.state, account, writes=True) if args.state else ()),
            ),
            # A look for drift reads how things are set up, and no content.
            managed=(account.managed("SecurityAudit"),),
        )
        self.role = Role(owner, account, "deploy", wanted, mine)
        for about, statements in _parts(owner, account, args).items():
            self._may(about, statements, owner)
        self.reader = self._reader(owner, account, args, ground)
        self.register_outputs({"role": self.role.arn, "reader": self.reader.arn})

    def _may(self, about: str, statements: tuple[Statement, ...], owner: Owner) -> None:
        """A policy for each part: all of them in the role would be more letters than IAM takes."""
        mine = pulumi.ResourceOptions(parent=self)
        policy = aws.iam.Policy(
            f"deploy-{about}",
            name=f"{owner.prefix}-deploy-{about}",
            description=f"What a deployment asks of {about}",
            policy=document(*statements),
            tags=owner.tagged("identity"),
            opts=mine,
        )
        aws.iam.RolePolicyAttachment(f"deploy-{about}", role=self.role.name, policy_arn=policy.arn, opts=mine)

    def _reader(self, owner: Owner, account: Account, args: DeployArgs, ground: Ground) -> Role:
        """For pull requests and the nightly look: whoever may push a branch becomes it, so it changes nothing and reads no rows."""
        wanted = RoleArgs(
            stage="identity",
            trusts=(self._trust(args, f"{args.environment}{READING}"),),
            allows=(
                *_papers(ground, account),
                *looking(owner, account, args),
                *_beside_the_audit(owner, account),
                *_but_no_keys(account, args),
                *(_of_state(args.state, account, writes=False) if args.state else ()),
            ),
            managed=(account.managed("SecurityAudit"),),
        )
        return Role(owner, account, "plan", wanted, pulumi.ResourceOptions(parent=self))

    def _issuer(self, owner: Owner, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
        issuer = aws.iam.OpenIdConnectProvider(
            "github", url=f"https://{ISSUER}", client_id_lists=["sts.amazonaws.com"], tags=owner.tagged("identity"), opts=opts
        )
        return issuer.arn

    def _trust(self, args: DeployArgs, environment: str) -> Statement:
        # Never "for all values", which also holds for a token without that value.
        conditions: dict[str, dict[str, str | list[str]]] = {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"}}
        # Without GitHub's numbers any number of that name is let in.
        compared = "StringEquals" if args.owner_id else "StringLike"
        conditions.setdefault(compared, {})[f"{ISSUER}:sub"] = args.subjects(environment)
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
    """It hands the foundation's roles to services, and makes the service stack's own below the boundary."""
    own = tuple(account.arn("iam", f"role/{owner.prefix}-{name}", region="") for name in SERVICE_ROLES)
    takers = ("sagemaker", "ecs", "ecs-tasks", "lambda", "emr-serverless", "scheduler", "codedeploy", "ec2", "logs")
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


def _parts(owner: Owner, account: Account, args: DeployArgs) -> dict[str, tuple[Statement, ...]]:
    """What is asked, by what it is for: what watches an endpoint, each place, and at ECS what copies run on and are called."""
    found = {"monitoring": watching(owner, account), **{place: CALLS[place](owner, account) for place in args.places}}
    if "ecs" in args.places:
        found["machines"] = machines(owner, account)
    if args.zones:
        found["names"] = named(args.zones, account)
    return found


def looking(owner: Owner, account: Account, args: DeployArgs) -> tuple[Statement, ...]:
    """Of all that a deployment asks, the questions: no verb that makes, and none that gives a secret or lines of a journal."""
    every = (*everywhere(owner, account), *(each for part in _parts(owner, account, args).values() for each in part))
    kept = ((each, tuple(action for action in each.actions if _looks(action))) for each in every)
    return tuple(replace(each, actions=actions) for each, actions in kept if actions)


def _beside_the_audit(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Of the foundation's set-up, what AWS's own SecurityAudit leaves out: budgets and Glue's database."""
    kinds = ("AnomalyMonitors", "AnomalySubscriptions")
    costs = (*(f"ce:Get{kind}" for kind in kinds), "ce:ListTagsForResource", "ce:ListCostAllocationTags")
    database = tuple(account.arn("glue", name) for name in ("catalog", f"database/{database_name(owner)}"))
    budget = account.arn("budgets", f"budget/{owner.prefix}", region="")
    return (
        Statement(("glue:GetDatabase",), database),
        Statement(("budgets:ViewBudget", "budgets:ListTagsForResource"), (budget,)),
        Statement(costs, ("*",), reason="AWS names what watches costs"),
    )


def _but_no_keys(account: Account, args: DeployArgs) -> tuple[Statement, ...]:
    """The one verb of API Gateway that reads also gives the keys that its callers show."""
    if "lambda" not in args.places:
        return ()
    paths = ("apikeys", "apikeys/*", "usageplans/*/keys", "usageplans/*/keys/*")
    keys = tuple(f"arn:{account.partition}:apigateway:{account.region}::/{path}" for path in paths)
    return (Statement(("apigateway:GET",), keys, reason="Whoever only looks sees no key", effect="Deny"),)


def _looks(action: str) -> bool:
    verb = action.partition(":")[2]
    return action not in CONTENT and verb.startswith(("Describe", "List", "BatchGet", "Get", "GET"))


def _papers(ground: Ground, account: Account) -> tuple[Statement, ...]:
    """A plan reads manifests, releases, what stands, and what was made last (`prod.head`), wherever in the product's folder.

    Of what is not there S3 says so only to whoever might read it. Rows are Parquet.
    """
    listed = {"StringLike": {"s3:prefix": [f"{ground.product}*"]}}
    papers = tuple(account.bucket(f"{ground.bucket}/{ground.product}*.{kind}") for kind in ("json", "head"))
    return (
        Statement(("s3:GetBucketLocation",), (account.bucket(ground.bucket),)),
        Statement(("s3:ListBucket",), (account.bucket(ground.bucket),), listed),
        Statement(("s3:GetObject",), papers, reason="Manifests and releases lie in folders named by their keys"),
        Statement(("kms:Decrypt", "kms:DescribeKey"), (ground.key,)),
    )


def _of_state(state: str, account: Account, writes: bool) -> tuple[Statement, ...]:
    """The stacks' state, and the key that seals it, which is known by its alias alone."""
    bucket, _, folder = state.removeprefix("s3://").partition("/")
    below = f"{folder.strip('/')}/" if folder.strip("/") else ""
    whole = "" if below else "The state has this bucket to itself"
    fence = {"StringLike": {"s3:prefix": [f"{below}*"]}} if below else {}
    objects = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject") if writes else ("s3:GetObject",)
    seals = ("kms:Decrypt", "kms:DescribeKey", *(("kms:Encrypt", "kms:GenerateDataKey") if writes else ()))
    alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{bucket}"}}
    return (
        Statement(("s3:ListBucket",), (account.bucket(bucket),), fence),
        Statement(("s3:GetBucketTagging", "s3:GetBucketLocation"), (account.bucket(bucket),)),
        Statement(objects, (account.bucket(f"{bucket}/{below}*"),), reason=whole),
        Statement(seals, (account.arn("kms", "key/*"),), alias, reason="The key of the state is known by its alias"),
    )
