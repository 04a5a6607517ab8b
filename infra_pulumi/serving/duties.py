"""What a container may do where the foundation's endpoint role cannot be taken: read its artifacts, ask its hosted model."""

from infra_pulumi.account import Account
from infra_pulumi.hosted import asking
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import Serving


def reading(wanted: Serving, account: Account) -> tuple[Statement, ...]:
    """The artifacts of what is served, each by its own prefix, and the key that they are encrypted with."""
    artifacts = [variant.release.artifact.removeprefix("s3://") for variant in wanted.sides().values()]
    buckets = sorted({artifact.partition("/")[0] for artifact in artifacts})
    prefixes = [artifact.partition("/")[2] + "*" for artifact in artifacts]
    return (
        Statement(("s3:GetObject",), tuple(account.bucket(f"{artifact}*") for artifact in artifacts)),
        Statement(("s3:ListBucket",), tuple(account.bucket(bucket) for bucket in buckets), {"StringLike": {"s3:prefix": prefixes}}),
        Statement(("kms:Decrypt",), (wanted.ground.key_arn,)),
        *asking(tuple(dict.fromkeys(model for variant in wanted.sides().values() for model in variant.release.models)), account),
    )
