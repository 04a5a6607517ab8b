"""keys: what encrypts everything at rest, rotated by AWS each year."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

USE = ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey")
THIS_KEY = "In a key's own policy the star is this key"


@dataclass(frozen=True)
class KeysArgs:
    """`governance.encrypt: kms`."""

    rotation_days: int = 365
    deletion_days: int = 30
    """How long a deleted key can be called back. What it encrypted is lost with it."""
    keep: bool = True
    """`destroy` leaves the keys: without them, what the kept buckets hold is noise."""


class Keys(pulumi.ComponentResource):
    """One key for data, one for trails and logs, and one for the copies in each further region."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: KeysArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Keys", "keys", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self.data = self._key("data", "What the product stores: rows, models, journals, images, backups", owner.region)
        self.logs = self._key("logs", "Trails, logs and notices", owner.region, _of_logs(owner, account))
        self.copies = {region: self._key(f"copy-{region}", f"Copies in {region}", region) for region in account.elsewhere}
        self.register_outputs({"data": self.data.arn, "logs": self.logs.arn})

    def _key(self, name: str, purpose: str, region: str, more: tuple[Statement, ...] = ()) -> aws.kms.Key:
        key = aws.kms.Key(
            f"key-{name}",
            description=f"{self._owner.prefix}: {purpose}",
            enable_key_rotation=True,
            rotation_period_in_days=self._args.rotation_days,
            deletion_window_in_days=self._args.deletion_days,
            policy=document(_of_the_account(self._account), *more),
            tags=self._owner.tagged("keys"),
            opts=self._account.at(region, self, self._args.keep),
        )
        alias = f"alias/{self._owner.prefix}-{name}"
        aws.kms.Alias(f"key-{name}", name=alias, target_key_id=key.key_id, opts=self._account.at(region, self))
        return key


def _of_the_account(account: Account) -> Statement:
    reason = f"{THIS_KEY} and without the account nobody could ever change or delete it"
    return Statement(("kms:*",), ("*",), principals={"AWS": account.root}, reason=reason)


def _of_logs(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """CloudWatch's groups, the trail, and those who write to our topics of notices."""
    return (
        Statement(
            USE,
            ("*",),
            {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": account.arn("logs", f"log-group:/llmspec/{owner.prefix}/*")}},
            {"Service": f"logs.{owner.region}.amazonaws.com"},
            THIS_KEY,
        ),
        Statement(
            USE,
            ("*",),
            {"StringEquals": {"aws:SourceArn": account.arn("cloudtrail", f"trail/{owner.prefix}")}},
            {"Service": "cloudtrail.amazonaws.com"},
            THIS_KEY,
        ),
        _of_notices(("budgets", "costalerts"), account.here()),
        # To a topic that is encrypted these two do not say for whom they act, and an alarm that is refused is silent.
        _of_notices(("cloudwatch", "events"), {}),
    )


def _of_notices(services: tuple[str, ...], fence: dict[str, dict[str, pulumi.Output[str]]]) -> Statement:
    principals = {"Service": [f"{service}.amazonaws.com" for service in services]}
    return Statement(("kms:Decrypt", "kms:GenerateDataKey"), ("*",), fence, principals, THIS_KEY)
