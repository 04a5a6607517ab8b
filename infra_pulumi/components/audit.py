"""audit: who did what to the product in this account, and whether its resources are as they should be."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.bucket import Bucket, BucketArgs
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.recorder import KEYED, RULES, Recorder
from infra_pulumi.components.storage import Storage
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

STANDARDS = ("ai-security-best-practices/v/1.0.0", "aws-foundational-security-best-practices/v/1.0.0")


@dataclass(frozen=True)
class AuditArgs:
    """`governance.audit`. An account has one Config recorder, one Security Hub and one Inspector: say no to what it has already.
    They look at all that is in it, so `destroy` leaves them on."""

    keep_days: int = 365
    config: bool = True
    security_hub: bool = True
    inspector: bool = True
    keep: bool = True
    """`destroy` leaves the trails."""
    keyless: bool = False
    """The endpoint's machines encrypt their disks themselves and refuse a key: no rule may ask for one."""


class Audit(pulumi.ComponentResource):
    """A trail of every call and of every object touched, and three services that look at how things are set up."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: AuditArgs,
        keys: Keys,
        storage: Storage,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Audit", "audit", None, opts)
        self._owner, self._account, self._args = owner, account, args
        # Apart from the store, so that who may write rows may not write trails.
        self._called = f"{storage.bucket}-trails"
        self._opts = pulumi.ResourceOptions(parent=self)
        self._left = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        self.bucket = self._trails(keys)
        self.trail = self._trail(keys, storage)
        if args.config:
            rules = {name: rule for name, rule in RULES.items() if not (args.keyless and name == KEYED)}
            Recorder(owner, account, self.bucket, keys, rules, self._opts)
        if args.security_hub:
            self._security_hub()
        if args.inspector:
            # What we run is images and functions; EC2 would be every machine of the account, at a price each.
            aws.inspector2.Enabler("inspector", account_ids=[account.id], resource_types=["ECR", "LAMBDA"], opts=self._left)
        self.register_outputs({"trail": self.trail.arn, "bucket": self.bucket.name})

    def _trails(self, keys: Keys) -> Bucket:
        wanted = BucketArgs(
            name=self._called,
            stage="audit",
            key=keys.logs.arn,
            expire_days={"": self._args.keep_days},
            grants=(*self._of_cloudtrail(), *self._of_config()),
            keep=self._args.keep,
        )
        return Bucket(self._owner, self._account, "trails", wanted, self._opts)

    def _of_cloudtrail(self) -> tuple[Statement, ...]:
        trail = {"StringEquals": {"aws:SourceArn": self._account.arn("cloudtrail", f"trail/{self._owner.prefix}")}}
        return self._delivery("cloudtrail", trail)

    def _of_config(self) -> tuple[Statement, ...]:
        return self._delivery("config", self._account.here()) if self._args.config else ()

    def _delivery(self, service: str, fence: dict[str, dict[str, pulumi.Output[str]]]) -> tuple[Statement, ...]:
        bucket = self._account.bucket(self._called)
        principal = {"Service": f"{service}.amazonaws.com"}
        folder = pulumi.Output.concat(bucket, f"/{service}/AWSLogs/", self._account.id, "/*")
        full = pulumi.Output.from_input("bucket-owner-full-control")
        owned = {"StringEquals": {**fence["StringEquals"], "s3:x-amz-acl": full}}
        looks = ("s3:GetBucketAcl", "s3:ListBucket") if service == "config" else ("s3:GetBucketAcl",)
        return (Statement(looks, (bucket,), fence, principal), Statement(("s3:PutObject",), (folder,), owned, principal))

    def _trail(self, keys: Keys, storage: Storage) -> aws.cloudtrail.Trail:
        objects = pulumi.Output.concat(storage.store.arn, f"/{storage.product}")
        return aws.cloudtrail.Trail(
            "trail",
            name=self._owner.prefix,
            s3_bucket_name=self.bucket.name,
            s3_key_prefix="cloudtrail",
            kms_key_id=keys.logs.arn,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            advanced_event_selectors=[
                {"name": "Calls", "field_selectors": [{"field": "eventCategory", "equals": ["Management"]}]},
                {
                    "name": "Objects of the product",
                    "field_selectors": [
                        {"field": "eventCategory", "equals": ["Data"]},
                        {"field": "resources.type", "equals": ["AWS::S3::Object"]},
                        {"field": "resources.ARN", "starts_withs": [objects]},
                    ],
                },
            ],
            tags=self._owner.tagged("audit"),
            # CloudTrail looks whether it may write before it begins.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.bucket.policy]),
        )

    def _security_hub(self) -> None:
        hub = aws.securityhub.Account("security-hub", enable_default_standards=False, opts=self._left)
        after = pulumi.ResourceOptions(parent=self, depends_on=[hub], retain_on_delete=True)
        for standard in STANDARDS:
            arn = f"arn:{self._account.partition}:securityhub:{self._owner.region}::standards/{standard}"
            aws.securityhub.StandardsSubscription(standard.partition("/")[0], standards_arn=arn, opts=after)
