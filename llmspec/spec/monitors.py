"""monitors: what is watched once it is live."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from llmspec.card import Engine
from llmspec.expressions import Alarm
from llmspec.registry import EngineOf
from llmspec.section import Duration, Like, SecretText, Section, asked_once, wrong


class Notify(Section):
    """Who is told when an alarm rings."""

    email: Annotated[str | None, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"), Like("write an address: `oncall@acme.example`")] = (
        None
    )
    """An address: `oncall@acme.example`. AWS asks it to confirm once."""
    webhook: SecretText | None = None
    """An HTTPS address that gets each alarm as JSON: `${secret.ALARM_WEBHOOK}`."""

    @field_validator("webhook")
    @classmethod
    def _webhook_is_encrypted(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("https://", "${secret.")):
            raise wrong("a webhook is an HTTPS address", "write https://…, or `${secret.NAME}`")
        return address

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.email is None and self.webhook is None:
            raise wrong("nobody is told", "add `email: …` or `webhook: …`, or take notify out")
        return self


class Monitors(Section):
    """Numbers from the journal, and when they should wake somebody."""

    engine: Annotated[Engine, EngineOf("monitors")] = Field(default="watch_journal", validate_default=True)
    """The tool that does it."""
    every: Duration = Field(default=900.0, ge=60)
    """How often Dagster looks, and how far back."""
    alarms: list[Alarm] = []
    """`p95_latency > 1s for 5m`, `error_rate > 0.01`."""
    notify: Notify | None = None
    """Who is told when an alarm rings, where the endpoint is in AWS: `{email: oncall@acme.example}`."""
    dashboards: list[Literal["cloudwatch"]] = Field(default=[], max_length=1)
    """Pages with the endpoint's numbers, where it is in AWS: `[cloudwatch]`. Its own /metrics is for Prometheus everywhere."""

    @model_validator(mode="after")
    def _alarms_are_asked_once(self) -> Self:
        asked_once(self.alarms, "alarms")
        return self
