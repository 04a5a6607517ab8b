"""A bucket that nobody outside reads, that speaks TLS only, and that forgets on time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document


@dataclass(frozen=True)
class BucketArgs:
    """One bucket."""

    name: str
    stage: str
    key: pulumi.Input[str] | None
    """The KMS key. None: S3's own key, where AWS takes no other (a bucket that access logs are delivered to)."""
    expire_days: Mapping[str, int] = field(default_factory=dict)
    """Folder -> days until what lies in it goes; `""` is all of the bucket."""
    noncurrent_days: int = 30
    """Overwritten and deleted objects can be called back so long, and are erased then."""
    fleeting: tuple[str, ...] = ()
    """Folders in which they are erased after a day: nobody would call them back."""
    grants: tuple[Statement, ...] = ()
    """What others may do with it, beside the account's roles."""
    log_to: Bucket | None = None
    """Where its access log goes."""
    keep: bool = True
    """`destroy` leaves the bucket and all that protects it. False: it takes the bucket with all that is in it."""


class Bucket(pulumi.ComponentResource):
    """Versioned, encrypted, private."""

    def __init__(self, owner: Owner, account: Account, title: str, args: BucketArgs, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:Bucket", title, None, opts)
        self._title, self._args, self.called = title, args, args.name
        self._opts = pulumi.ResourceOptions(parent=self, retain_on_delete=args.keep)
        self.bucket = aws.s3.Bucket(
            title, bucket=args.name, force_destroy=not args.keep, tags=owner.tagged(args.stage), opts=self._opts
        )
        self._close(account)
        self._encrypt()
        self.versioning = aws.s3.BucketVersioning(
            title,
            bucket=self.bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=self._opts,
        )
        self._forget()
        if args.log_to:
            self._log(args.log_to)
        self.name, self.arn = self.bucket.id, self.bucket.arn
        self.register_outputs({"name": self.name, "arn": self.arn})

    def _close(self, account: Account) -> None:
        block = aws.s3.BucketPublicAccessBlock(
            self._title,
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._opts,
        )
        aws.s3.BucketOwnershipControls(
            self._title,
            bucket=self.bucket.id,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=self._opts,
        )
        policy = document(*_tls_only(account, self._args.name), *self._args.grants)
        # S3 refuses two changes to one bucket's access at the same time.
        after = pulumi.ResourceOptions.merge(self._opts, pulumi.ResourceOptions(depends_on=[block]))
        self.policy = aws.s3.BucketPolicy(self._title, bucket=self.bucket.id, policy=policy, opts=after)

    def _encrypt(self) -> None:
        key = self._args.key
        how: aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict = (
            {"sse_algorithm": "AES256"} if key is None else {"sse_algorithm": "aws:kms", "kms_master_key_id": key}
        )
        # With a bucket key S3 asks KMS once in a while, not for every object: a hundredth of the requests to pay for.
        rules: list[aws.s3.BucketServerSideEncryptionConfigurationRuleArgsDict] = [
            {"apply_server_side_encryption_by_default": how, "bucket_key_enabled": key is not None}
        ]
        aws.s3.BucketServerSideEncryptionConfiguration(self._title, bucket=self.bucket.id, rules=rules, opts=self._opts)

    def _forget(self) -> None:
        folders = dict.fromkeys((*self._args.expire_days, *self._args.fleeting))
        rules = [_everywhere(self._args.noncurrent_days), *(self._in(folder) for folder in folders)]
        # S3 takes lifecycle rules for old versions once the bucket has versions.
        after = pulumi.ResourceOptions.merge(self._opts, pulumi.ResourceOptions(depends_on=[self.versioning]))
        aws.s3.BucketLifecycleConfiguration(self._title, bucket=self.bucket.id, rules=rules, opts=after)

    def _in(self, folder: str) -> aws.s3.BucketLifecycleConfigurationRuleArgsDict:
        """Where it and the rule for everywhere speak of one object, S3 keeps that for the shorter time."""
        name = folder.strip("/").replace("/", "-") or "all"
        rule: aws.s3.BucketLifecycleConfigurationRuleArgsDict = {
            "id": f"retention-{name}",
            "status": "Enabled",
            "filter": {"prefix": folder},
        }
        if folder in self._args.expire_days:
            rule["expiration"] = {"days": self._args.expire_days[folder]}
        if folder in self._args.fleeting:
            rule["noncurrent_version_expiration"] = {"noncurrent_days": 1}
        return rule

    def _log(self, to: Bucket) -> None:
        # S3 refuses a log's bucket that does not let it in.
        after = pulumi.ResourceOptions.merge(self._opts, pulumi.ResourceOptions(depends_on=[to.policy]))
        aws.s3.BucketLogging(
            self._title,
            bucket=self.bucket.id,
            target_bucket=to.name,
            target_prefix=f"{self._args.name}/",
            opts=after,
        )


def _everywhere(noncurrent_days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgsDict:
    return {
        "id": "leftovers",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        "noncurrent_version_expiration": {"noncurrent_days": noncurrent_days},
        "expiration": {"expired_object_delete_marker": True},
    }


def _tls_only(account: Account, name: str) -> tuple[Statement, ...]:
    everything = (account.bucket(name), account.bucket(f"{name}/*"))
    reason = "Nobody and nothing speaks to this bucket without TLS"
    return (
        Statement(("s3:*",), everything, {"Bool": {"aws:SecureTransport": "false"}}, {"AWS": "*"}, reason, "Deny"),
        Statement(
            ("s3:*",), everything, {"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"AWS": "*"}, f"{reason} of 2008 or later", "Deny"
        ),
    )
