"""governance: what is recorded, kept, copied and spent, and which policy checks do not apply here."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from llmspec import regions
from llmspec.section import Duration, Like, Section, wrong

DAY = 86400.0
Region = Annotated[
    str,
    Field(pattern=r"^[a-z]{2}(-[a-z]+){1,2}-[1-9]$"),
    AfterValidator(regions.existing),
    Like("write an AWS region: `eu-central-1`, `us-east-1`, `us-gov-west-1`"),
]

Check = Literal[
    "alarms",
    "audit",
    "autoscaling",
    "backup",
    "budget",
    "concurrency",
    "copies",
    "endpoint-memory",
    "gates",
    "guards",
    "idle-gpu",
    "journal",
    "local-address",
    "network-isolation",
    "no-gpu",
    "notify",
    "payload",
    "plain-secret",
    "public",
    "purification",
    "rate-limit",
    "residency",
    "retention",
    "rollback",
    "spot-checkpoints",
    "timeout",
    "training-memory",
    "zones",
]
"""The policy checks of `llmspec.policy`; `llmspec validate` shows these ids."""


def _whole_days(seconds: float) -> float:
    """S3 and AWS Backup count days."""
    if seconds % DAY:
        raise wrong("it is counted in whole days", "write `30d`")
    return seconds


class Retention(Section):
    """How long things stay in the store. Absent is for ever."""

    data: Duration | None = Field(default=None, ge=DAY)
    """Rows, token ids and the reports about them: `365d`. What is live, or the newest at a target, stays with all that it was
    made from, however old; `apply` removes the rest, from the store itself and no earlier one."""
    journal: Duration | None = Field(default=None, ge=DAY)
    """Questions and answers that the endpoint delivered there: `30d`."""

    @field_validator("data", "journal")
    @classmethod
    def _days(cls, kept: float | None) -> float | None:
        return kept if kept is None else _whole_days(kept)


class Backup(Section):
    """Copies of the bucket in a vault, against deletion and mistakes."""

    every: Duration = Field(default=DAY, ge=3600)
    """How often a copy is made: 1h, 2h, 3h, 4h, 6h, 8h, 12h, `1d` or `7d`."""
    keep: Duration = Field(default=35 * DAY, ge=DAY)
    """How long each copy is kept."""
    copy_to: Region | None = None
    """Another region that gets each copy as well: `eu-west-1`."""

    @field_validator("every")
    @classmethod
    def _meets_the_clock(cls, every: float) -> float:
        if every != 7 * DAY and (every > DAY or DAY % every):
            raise wrong("copies are made at the same hours each day, or once a week", "write 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d or 7d")
        return every

    @field_validator("keep")
    @classmethod
    def _keep_is_days(cls, keep: float) -> float:
        return _whole_days(keep)

    @model_validator(mode="after")
    def _kept_until_the_next(self) -> Self:
        if self.keep <= self.every:
            raise wrong("each copy is gone before the next one is made", "keep copies longer than `every`", "keep")
        return self


class Audit(Section):
    """An account has one Config recorder, one Security Hub and one Inspector: `false` leaves alone what it has already."""

    config: bool = True
    """How resources are set up, recorded, and measured against rules."""
    security_hub: bool = True
    """AWS's own standards, that of AI among them."""
    inspector: bool = True
    """Known faults in images and functions."""


def _switched(audit: Any) -> Any:
    """`true` is all of it, `false` none."""
    return ({} if audit else None) if isinstance(audit, bool) else audit


class Budget(Section):
    """What a month may cost. It warns; it stops nothing."""

    monthly: Annotated[str, Field(pattern=r"^[1-9][0-9]* USD$"), Like("write an amount in whole US dollars: `500 USD`")]
    """The most that a month should cost: `500 USD`. A plan compares with it, and AWS Budgets watches it."""
    warn_at: float = Field(default=0.8, gt=0, le=1)
    """Share of it at which somebody is told, before it is spent."""
    activate_tags: bool | None = None
    """Whether `apply` has AWS count by our tags, without which a budget counts nothing. `true` works from the day after the first
    apply, in an account that pays for itself; `false` says that whoever pays has done it. Absent, a plan says what is to do."""

    @property
    def dollars(self) -> int:
        return int(self.monthly.removesuffix(" USD"))


Provider = Annotated[
    str,
    Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/token\.actions\.githubusercontent\.com$"),
    Like("write its ARN: `arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com`"),
]


class Deploy(Section):
    """A pipeline that deploys, with a role and without a key that could be stolen."""

    github: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$"), Like("write OWNER/NAME: `acme/support-bot`")]
    """The repository on GitHub: `acme/support-bot`."""
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$"), Like("write the environment's name: `prod`")] | None = (
        None
    )
    """GitHub's environment that must have approved the run; the target's name when absent."""
    owner_id: int | None = Field(default=None, ge=1)
    """GitHub's number of the owner (`gh api repos/OWNER/NAME`): with it, nobody who takes over the name gets in."""
    repository_id: int | None = Field(default=None, ge=1)
    """GitHub's number of the repository."""
    provider: Provider | None = None
    """GitHub's provider where the account has it already, by its ARN: an account takes one. It is made when absent."""

    @model_validator(mode="after")
    def _both_numbers(self) -> Self:
        if (self.owner_id is None) != (self.repository_id is None):
            there = "owner_id" if self.repository_id is None else "repository_id"
            raise wrong("one number without the other proves nothing", "give owner_id and repository_id, or neither", there)
        return self


class Waiver(Section):
    """A policy check that does not apply here."""

    check: Check
    """Its id, as `llmspec validate` shows it: `copies`."""
    reason: str = Field(min_length=10)
    """Why: `An internal tool; an hour without it harms nobody.`"""


class Governance(Section):
    """Rules for what llmspec builds in AWS."""

    audit: Annotated[Audit | None, BeforeValidator(_switched, json_schema_input_type=bool | Audit | None)] = None
    """`true`: who deployed, asked for and changed what, by CloudTrail with data events, Config, Security Hub and Inspector.
    `{config: false}` leaves out what the account has already."""
    retention: Retention = Retention()
    """How long things are kept."""
    backup: Backup | None = None
    """Copies in a vault; none when absent."""
    replicate_to: Region | None = None
    """A second region to which the product's folder is copied as it changes, but for what lives only as long as a job."""
    nat_gateways: int = Field(default=0, ge=0)
    """Ways out into the internet for what stands in the private network: 0 is none, 1 is gone with its zone, one a zone is not.
    Each is paid by the hour, and by what goes through."""
    budget: Budget | None = None
    """What a month may cost; nobody watches when absent."""
    deploy: Deploy | None = None
    """Who deploys from a pipeline; people only when absent."""
    waive: list[Waiver] = []
    """Policy checks that do not apply here, each with its reason."""

    @field_validator("waive")
    @classmethod
    def _each_once(cls, waivers: list[Waiver]) -> list[Waiver]:
        seen: set[Check] = set()
        for number, waiver in enumerate(waivers):
            if waiver.check in seen:
                raise wrong(f"'{waiver.check}' is waived twice", "keep one of them", f"[{number}].check")
            seen.add(waiver.check)
        return waivers
