"""backup: the store as it was, on the days that the spec keeps, and in a second region."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.components.storage import Storage
from infra_pulumi.owner import Owner

POLICIES = (
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "service-role/AWSBackupServiceRolePolicyForRestores",
    "AWSBackupServiceRolePolicyForS3Backup",
    "AWSBackupServiceRolePolicyForS3Restore",
)


@dataclass(frozen=True)
class BackupArgs:
    """`governance.backup: {every: 1d, keep: 35d, copy_to: eu-west-1}`."""

    every_hours: int = 24
    keep_days: int = 35
    copy_to: str | None = None
    """A second region."""
    keep: bool = True
    """`destroy` leaves the vaults and what lies in them."""
    lock: bool = False
    """Nobody, the account's root included, shortens the life of a backup. It cannot be taken back after three days."""

    def __post_init__(self) -> None:
        if self.every_hours != 168 and (self.every_hours < 1 or 24 % self.every_hours):
            raise ValueError(f"backup: every {self.every_hours} hours meets no clock; write 1, 2, 3, 4, 6, 8, 12, 24 or 168")
        if self.keep_days < 1:
            raise ValueError(f"backup: keep {self.keep_days} days keeps nothing; write 1 or more")

    @property
    def schedule(self) -> str:
        """At three at night, in UTC, or around it."""
        if self.every_hours == 168:
            return "cron(0 3 ? * MON *)"
        return "cron(0 3 * * ? *)" if self.every_hours == 24 else f"cron(0 {3 % self.every_hours}/{self.every_hours} * * ? *)"


class Backup(pulumi.ComponentResource):
    """A vault, a plan, and what it is about: the bucket of the store."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: BackupArgs,
        keys: Keys,
        storage: Storage,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Backup", "backup", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self._opts = pulumi.ResourceOptions(parent=self)
        self.vault = self._vault("vault", owner.prefix, owner.region, keys.data.arn)
        self.copy = (
            self._vault("copy", f"{owner.prefix}-copy", args.copy_to, keys.copies[args.copy_to].arn) if args.copy_to else None
        )
        self.plan = self._plan()
        role = Role(
            owner, account, "backup", RoleArgs("backup", ("backup",), managed=tuple(map(account.managed, POLICIES))), self._opts
        )
        aws.backup.Selection(
            "store", name="store", plan_id=self.plan.id, iam_role_arn=role.arn, resources=[storage.store.arn], opts=self._opts
        )
        self.register_outputs({"vault": self.vault.arn, "plan": self.plan.id})

    def _vault(self, title: str, name: str, region: str, key: pulumi.Output[str]) -> aws.backup.Vault:
        kept = self._account.at(region, self, self._args.keep)
        vault = aws.backup.Vault(
            title, name=name, kms_key_arn=key, force_destroy=not self._args.keep, tags=self._owner.tagged("backup"), opts=kept
        )
        if self._args.lock:
            aws.backup.VaultLockConfiguration(
                title,
                backup_vault_name=vault.name,
                min_retention_days=self._args.keep_days,
                changeable_for_days=3,
                opts=self._account.at(region, self, self._args.keep),
            )
        return vault

    def _plan(self) -> aws.backup.Plan:
        life = self._args.keep_days
        rule: aws.backup.PlanRuleArgsDict = {
            "rule_name": "store",
            "target_vault_name": self.vault.name,
            "schedule": self._args.schedule,
            "lifecycle": {"delete_after": life},
            "copy_actions": [{"destination_vault_arn": self.copy.arn, "lifecycle": {"delete_after": life}}] if self.copy else [],
            "recovery_point_tags": self._owner.tagged("backup"),
        }
        return aws.backup.Plan("plan", name=self._owner.prefix, rules=[rule], tags=self._owner.tagged("backup"), opts=self._opts)
