"""What each kind of job is for: who runs it, which folders of the product it reads, and which it writes."""

from dataclasses import dataclass

import pulumi

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
PUSH = (*PULL, "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:DescribeImages")
LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams")
METRICS = ("cloudwatch:PutMetricData",)
TABLES = tuple(
    f"glue:{verb}"
    for verb in (
        "GetDatabase",
        "GetTable",
        "GetTables",
        "GetPartitions",
        "CreateTable",
        "UpdateTable",
        "DeleteTable",
        "BatchCreatePartition",
    )
)
LOOKS = tuple(f"ec2:Describe{things}" for things in ("NetworkInterfaces", "Vpcs", "Subnets", "SecurityGroups", "DhcpOptions"))
CARDS = ("ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission")
WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
"""A manifest is removed before what it vouches for is changed; a file that was cut off is sent on, or its parts are ended."""
UPLOADS = ("s3:ListBucketMultipartUploads",)
"""S3 lists uploads of a bucket whole: it knows no condition on their keys. Keys are all that is seen."""


@dataclass(frozen=True)
class Duty:
    """One kind of job."""

    services: tuple[str, ...]
    """Whose machines do it: they take its role on."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    """Also read: a job goes on where it was cut off."""


def _handed(*stages: str) -> tuple[str, ...]:
    """What is handed to jobs of these stages and what comes back, until it is in the store; and to nobody else's."""
    return tuple(f"jobs/{stage}" for stage in stages)


JOBS = ("sagemaker", "ecs-tasks")
DUTIES = {
    "data": Duty(("emr-serverless", *JOBS), reads=("code",), writes=("data", *_handed("data"))),
    "training": Duty(
        JOBS, reads=("code", "data"), writes=("features", "model", "onnx", "checkpoints", *_handed("features", "model", "onnx"))
    ),
    "evaluation": Duty(JOBS, reads=("code", "data", "features", "model", "onnx"), writes=("evaluation", *_handed("evaluation"))),
    "endpoint": Duty(JOBS, reads=("onnx",), writes=("capture",)),
    "monitors": Duty(JOBS, reads=("code", "journal", "capture", "data", "onnx", "evaluation", "endpoint"), writes=("monitors",)),
    "build": Duty(("codebuild",), writes=("code",)),
}


def in_the_store(duty: Duty, bucket: str, product: str, account: Account) -> tuple[Statement, ...]:
    """Its folders of the product, and no other product's."""
    folders = {folder: account.bucket(f"{bucket}/{product}{folder}/*") for folder in (*duty.reads, *duty.writes)}
    names = [f"{product}{folder}/*" for folder in folders]
    found = (
        Statement(("s3:GetBucketLocation",), (account.bucket(bucket),)),
        _listing(bucket, names, account),
        Statement(("s3:GetObject",), tuple(folders.values())),
    )
    if not duty.writes:
        return found
    writes = Statement(WRITE, tuple(folders[folder] for folder in duty.writes))
    return (*found, writes, Statement(UPLOADS, (account.bucket(bucket),)))


def from_sources(sources: tuple[str, ...], account: Account) -> tuple[Statement, ...]:
    """Rows that lie in S3 outside the store: read, never written."""
    parts = [source.removeprefix("s3://").partition("/") for source in sources]
    fixed = [(bucket, path.partition("*")[0] + "*") for bucket, _, path in parts]
    whole = "A source that names no folder is the whole bucket" if any(path == "*" for _, path in fixed) else ""
    objects = Statement(("s3:GetObject",), tuple(account.bucket(f"{bucket}/{path}") for bucket, path in fixed), reason=whole)
    return (objects, *(_listing(bucket, [path], account) for bucket, path in fixed)) if sources else ()


def with_keys(duty: Duty, key: pulumi.Input[str]) -> tuple[Statement, ...]:
    """S3 encrypts and decrypts with the caller's rights."""
    use = Statement(("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey") if duty.writes else ("kms:Decrypt",), (key,))
    if "sagemaker" not in duty.services:
        return (use,)
    # A machine's disk is unlocked by a grant that SageMaker asks for in the job's name.
    disks = Statement(("kms:CreateGrant", "kms:DescribeKey"), (key,), {"Bool": {"kms:GrantIsForAWSResource": "true"}})
    return (use, disks)


def with_secrets(kind: str, owner: Owner, account: Account) -> tuple[Statement, ...]:
    """What the product's jobs are told in secret: ECS fetches it in the job's name before it starts."""
    mine = Statement(("secretsmanager:GetSecretValue",), (account.arn("secretsmanager", f"secret:{owner.prefix}/*"),))
    return (mine,) if kind in ("data", "training", "evaluation") else ()


def into_logs(kind: str, owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Its own log group, SageMaker's, and metrics in our namespaces. An endpoint's groups are made by our stacks alone."""
    groups = (f"/llmspec/{owner.prefix}/{kind}", "/aws/sagemaker/")
    where = tuple(account.arn("logs", f"log-group:{group}*") for group in groups)
    fence = {"StringEquals": {"cloudwatch:namespace": ["llmspec", "/aws/sagemaker/Endpoints", "/aws/sagemaker/TrainingJobs"]}}
    actions = tuple(action for action in LOGS if kind != "endpoint" or action != "logs:CreateLogGroup")
    return (Statement(actions, where), Statement(METRICS, ("*",), fence, reason="Metrics have no ARN, the namespace is the fence"))


def with_images(actions: tuple[str, ...], repositories: tuple[str, ...], account: Account) -> tuple[Statement, ...]:
    """What runs is pulled from our repositories only."""
    login = Statement(("ecr:GetAuthorizationToken",), ("*",), reason="A registry's login names no repository")
    return (login, Statement(actions, tuple(account.arn("ecr", f"repository/{name}") for name in repositories)))


def with_tables(database: str, account: Account) -> Statement:
    """The product's database in Glue's catalogue."""
    named = ("catalog", f"database/{database}", f"table/{database}/*")
    return Statement(TABLES, tuple(account.arn("glue", name) for name in named))


def in_the_network(subnets: tuple[pulumi.Output[str], ...], group: pulumi.Output[str], account: Account) -> tuple[Statement, ...]:
    """SageMaker puts a job into our network with the job's own role."""
    places = [pulumi.Output.concat(account.arn("ec2", "subnet/"), subnet) for subnet in subnets]
    group_arn = pulumi.Output.concat(account.arn("ec2", "security-group/"), group)
    cards = account.arn("ec2", "network-interface/*")
    fresh = "A network card that is still to be made has no name yet"
    return (
        Statement(LOOKS, ("*",), reason="EC2 describes everything or nothing"),
        Statement(("ec2:CreateNetworkInterface",), (cards, group_arn, *places), reason=fresh),
        Statement(CARDS, (cards,), {"ArnEquals": {"ec2:Subnet": places}}, reason=fresh),
    )


def _listing(bucket: str, prefixes: list[str], account: Account) -> Statement:
    return Statement(("s3:ListBucket",), (account.bucket(bucket),), {"StringLike": {"s3:prefix": prefixes}})
