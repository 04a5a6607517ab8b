"""The boundary: what no job and no endpoint ever does, whatever its own role says."""

from infra_pulumi.account import Account
from infra_pulumi.components.duties import CARDS, GROUPS, LOGS, LOOKS, METRICS, PUSH, TABLES, UPLOADS, WRITE, from_sources
from infra_pulumi.hosted import asking
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

EACH_ROLE = "A ceiling gives nothing and each role names its own"


def boundary(
    owner: Owner,
    account: Account,
    bucket: str,
    product: str,
    sources: tuple[str, ...],
    source_keys: tuple[str, ...],
    models: tuple[str, ...] = (),
) -> tuple[Statement, ...]:
    """The ceiling for whatever runs a user's code, here and in the service stack: no identity, no trail, no other's rows."""
    return (
        Statement(("s3:GetObject", *WRITE), (account.bucket(f"{bucket}/{product}*"),)),
        Statement(("s3:ListBucket", "s3:GetBucketLocation", *UPLOADS), (account.bucket(bucket),)),
        *from_sources(sources, account),
        Statement(("secretsmanager:GetSecretValue",), (account.arn("secretsmanager", f"secret:{owner.prefix}*"),)),
        Statement(PUSH, (account.arn("ecr", f"repository/{owner.prefix}-*"),)),
        *((Statement(("kms:Decrypt",), source_keys),) if source_keys else ()),
        *asking(models, account),
        *_of_serving(owner, account),
        *_shared(account),
    )


def _of_serving(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """What moves traffic to a new release, and what lets a machine into its cluster."""
    balanced = tuple(
        account.arn("elasticloadbalancing", f"{kind}/{owner.cut}*") for kind in ("listener/app", "listener-rule/app", "targetgroup")
    )
    moves = ("ModifyListener", "ModifyRule", "RegisterTargets", "DeregisterTargets")
    clustered = tuple(account.arn("ecs", f"{kind}/{owner.prefix}*") for kind in ("cluster", "container-instance", "task"))
    reports = (
        "SubmitContainerStateChange",
        "SubmitTaskStateChange",
        "SubmitAttachmentStateChanges",
        "UpdateContainerInstancesState",
    )
    joins = ("RegisterContainerInstance", "DeregisterContainerInstance", "Poll", "StartTelemetrySession")
    shifts = ("GetAlias", "UpdateAlias", "GetProvisionedConcurrencyConfig")
    looks = tuple(f"elasticloadbalancing:Describe{things}" for things in ("Listeners", "Rules", "TargetGroups", "TargetHealth"))
    return (
        Statement(tuple(f"elasticloadbalancing:{verb}" for verb in moves), balanced),
        Statement(tuple(f"ecs:{verb}" for verb in (*joins, *reports)), clustered),
        Statement(tuple(f"lambda:{verb}" for verb in shifts), account.functions(owner.prefix)),
        Statement(("cloudwatch:DescribeAlarms",), (account.arn("cloudwatch", f"alarm:{owner.prefix}-*"),)),
        Statement((*looks, "ecs:DiscoverPollEndpoint"), ("*",), reason=EACH_ROLE),
    )


def _shared(account: Account) -> tuple[Statement, ...]:
    """What carries no name of ours to be fenced by, but is no way out of the account."""
    keys = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey")
    grants = Statement(
        ("kms:CreateGrant",), (account.arn("kms", "key/*"),), {"Bool": {"kms:GrantIsForAWSResource": "true"}}, reason=EACH_ROLE
    )
    addresses = ("ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
    models = ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
    # What CloudWatch's agent asks, so that lines and metrics of a cluster carry the names of their machines.
    agent = (*GROUPS, "ec2:DescribeTags", "ec2:DescribeVolumes")
    return (
        grants,
        Statement(LOGS, (account.arn("logs", "log-group:*"),), reason=EACH_ROLE),
        Statement(keys, (account.arn("kms", "key/*"),), reason=EACH_ROLE),
        Statement(TABLES, (account.arn("glue", "*"),), reason=EACH_ROLE),
        Statement((*LOOKS, *CARDS, *addresses, *METRICS, *models, *agent, "ecr:GetAuthorizationToken"), ("*",), reason=EACH_ROLE),
    )
