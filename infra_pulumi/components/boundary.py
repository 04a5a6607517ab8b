"""The boundary: what no job and no endpoint ever does, whatever its own role says."""

from infra_pulumi.account import Account
from infra_pulumi.components.duties import CARDS, LOGS, LOOKS, METRICS, PUSH, TABLES, WRITE, from_sources
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

EACH_ROLE = "A ceiling gives nothing and each role names its own"


def boundary(owner: Owner, account: Account, bucket: str, product: str, sources: tuple[str, ...]) -> tuple[Statement, ...]:
    """The ceiling for whatever runs a user's code, here and in the service stack: no identity, no trail, no other's rows."""
    return (
        Statement(("s3:GetObject", *WRITE), (account.bucket(f"{bucket}/{product}*"),)),
        Statement(("s3:ListBucket", "s3:GetBucketLocation"), (account.bucket(bucket),)),
        *from_sources(sources, account),
        Statement(("secretsmanager:GetSecretValue",), (account.arn("secretsmanager", f"secret:{owner.prefix}*"),)),
        Statement(
            ("firehose:PutRecord", "firehose:PutRecordBatch"), (account.arn("firehose", f"deliverystream/{owner.prefix}-*"),)
        ),
        Statement(PUSH, (account.arn("ecr", f"repository/{owner.prefix}-*"),)),
        *_shared(account),
    )


def _shared(account: Account) -> tuple[Statement, ...]:
    """What carries no name of ours to be fenced by, but is no way out of the account."""
    keys = ("kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey")
    grants = Statement(
        ("kms:CreateGrant",), (account.arn("kms", "key/*"),), {"Bool": {"kms:GrantIsForAWSResource": "true"}}, reason=EACH_ROLE
    )
    addresses = ("ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
    models = ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
    return (
        grants,
        Statement(LOGS, (account.arn("logs", "log-group:*"),), reason=EACH_ROLE),
        Statement(keys, (account.arn("kms", "key/*"),), reason=EACH_ROLE),
        Statement(TABLES, (account.arn("glue", "*"),), reason=EACH_ROLE),
        Statement((*LOOKS, *CARDS, *addresses, *METRICS, *models, "ecr:GetAuthorizationToken"), ("*",), reason=EACH_ROLE),
    )
