"""storage: the store's bucket, the log of who touched it, and its copy in a second region."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.bucket import Bucket, BucketArgs
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement
from llmspec.section import STAGES

HELD_IN = {"data": ("jobs",), "journal": ("journal", "engagement", "undelivered", "capture")}
"""What a retention rule speaks of -> the folders where age alone decides: a job is handed the sources. In `data/` and
`features/` lies what is live as well, which S3 cannot tell: `apply` removes what is not (`llmspec/retention.py`)."""

FLEETING = ("checkpoints", "jobs")
"""What lives as long as a job: a checkpoint is written over every few minutes, and what a job made is copied from here into the
store. An old version of it is worth nothing, and neither is a copy elsewhere."""
COPIED = (*STAGES, "code", "foundation", "service", "journal", "engagement", "undelivered", "capture")
"""All other folders of a product. A rule of replication names what goes with it, and cannot leave anything out."""


@dataclass(frozen=True)
class StorageArgs:
    """`store: s3://bucket/prefix`, `governance.retention` and replication."""

    bucket: str
    prefix: str = ""
    """The store's folder in the bucket; products lie below it."""
    retention_days: Mapping[str, int] = field(default_factory=dict)
    """`data` and `journal` -> days."""
    noncurrent_days: int = 30
    access_log_days: int = 365
    replicate_to: str | None = None
    """A second region."""
    keep: bool = True
    """`destroy` leaves the buckets."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,46}[a-z0-9]", self.bucket):
            raise ValueError(f"bucket: {self.bucket!r} is not 3 to 48 small letters, digits and dashes (others are named after it)")
        if unknown := sorted(set(self.retention_days) - set(HELD_IN)):
            raise ValueError(f"retention_days: no rule named {', '.join(unknown)} (known: {', '.join(HELD_IN)})")

    def product(self, owner: Owner) -> str:
        """`models/support-bot/`: the product's folder, as prefixes and policies have it."""
        return "/".join(part for part in (self.prefix.strip("/"), owner.name) if part) + "/"


class Storage(pulumi.ComponentResource):
    """The store survives `destroy`, a deleted object comes back for a month, and a lost region costs nothing but the way."""

    def __init__(
        self, owner: Owner, account: Account, args: StorageArgs, keys: Keys, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llmspec:aws:Storage", "storage", None, opts)
        self._owner, self._account, self._args, self._keys = owner, account, args, keys
        self.bucket, self.product = args.bucket, args.product(owner)
        log = self._access_log()
        self.store = self._bucket("store", args.bucket, owner.region, keys.data.arn, log)
        self.replica = self._replicated(args.replicate_to) if args.replicate_to else None
        replica = self.replica.name if self.replica else None
        self.register_outputs({"store": self.store.name, "log": log.name, "replica": replica})

    def _access_log(self) -> Bucket:
        name = f"{self._args.bucket}-log"
        writer = Statement(
            ("s3:PutObject",),
            (self._account.bucket(f"{name}/{self._args.bucket}/*"),),
            {**self._account.here(), "ArnLike": {"aws:SourceArn": self._account.bucket(self._args.bucket)}},
            {"Service": "logging.s3.amazonaws.com"},
        )
        wanted = BucketArgs(
            name=name,
            stage="storage",
            # AWS delivers access logs to buckets with S3's own key only.
            key=None,
            expire_days={"": self._args.access_log_days},
            grants=(writer,),
            keep=self._args.keep,
        )
        return Bucket(self._owner, self._account, "access-log", wanted, pulumi.ResourceOptions(parent=self))

    def _bucket(self, title: str, name: str, region: str, key: pulumi.Input[str], log_to: Bucket | None = None) -> Bucket:
        days = self._args.retention_days
        wanted = BucketArgs(
            name=name,
            stage="storage",
            key=key,
            expire_days={f"{self.product}{folder}/": days[rule] for rule in days for folder in HELD_IN[rule]},
            noncurrent_days=self._args.noncurrent_days,
            fleeting=tuple(f"{self.product}{folder}/" for folder in FLEETING),
            log_to=log_to,
            keep=self._args.keep,
        )
        return Bucket(self._owner, self._account, title, wanted, self._account.at(region, self))

    def _replicated(self, region: str) -> Bucket:
        key = self._keys.copies[region].arn
        replica = self._bucket("replica", f"{self._args.bucket}-{region}", region, key)
        role = self._copier(replica.called, key)
        aws.s3.BucketReplicationConfig(
            "replica",
            bucket=self.store.name,
            role=role.arn,
            rules=[
                {
                    "id": folder,
                    "status": "Enabled",
                    "priority": priority,
                    "filter": {"prefix": f"{self.product}{folder}/"},
                    # What is erased here is erased there.
                    "delete_marker_replication": {"status": "Enabled"},
                    "source_selection_criteria": {"sse_kms_encrypted_objects": {"status": "Enabled"}},
                    "destination": {
                        "bucket": replica.arn,
                        "storage_class": "STANDARD_IA",
                        "encryption_configuration": {"replica_kms_key_id": key},
                    },
                }
                for priority, folder in enumerate(COPIED, 1)
            ],
            # S3 replicates between versioned buckets only.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.store.versioning, replica.versioning]),
        )
        return replica

    def _copier(self, there: str, key: pulumi.Output[str]) -> Role:
        here = self._args.bucket
        whole = "Replication asks for objects by the bucket's name; its rules say which go"
        read = ("s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging")
        write = ("s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags")
        allows = (
            Statement(("s3:GetReplicationConfiguration", "s3:ListBucket"), (self._account.bucket(here),)),
            Statement(read, (self._account.bucket(f"{here}/*"),), reason=whole),
            Statement(write, (self._account.bucket(f"{there}/*"),), reason=whole),
            Statement(("kms:Decrypt",), (self._keys.data.arn,)),
            Statement(("kms:Encrypt", "kms:GenerateDataKey"), (key,)),
        )
        wanted = RoleArgs(stage="storage", services=("s3",), allows=allows)
        return Role(self._owner, self._account, "replication", wanted, pulumi.ResourceOptions(parent=self))
