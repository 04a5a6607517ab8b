"""endpoint.scale, rollout, variants: how requests are spread over copies and releases, where a place has more than one."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from llmspec.expressions import Alarm
from llmspec.section import Duration, Section, wrong


class Scale(Section):
    """How many copies of the server answer."""

    min: int = Field(default=1, ge=0, le=1000)
    """Copies that are always there. 0, where the place can start one for the first request."""
    max: int = Field(default=1, ge=1, le=1000)
    """The most that there are under load: it bounds what a busy month costs."""
    concurrency_per_copy: int | None = Field(default=None, ge=1, le=512)
    """Requests at once that one copy is meant for; with more, another copy is started. The place's own default when absent."""
    zones: int = Field(default=2, ge=1, le=6)
    """Data centres over which the copies are spread, so that the endpoint outlives the loss of one."""

    @model_validator(mode="after")
    def _min_is_below_max(self) -> Self:
        if self.min > self.max:
            raise wrong(f"min is {self.min} and max is {self.max}", "make max at least min", "min")
        if self.concurrency_per_copy is not None and self.min == self.max:
            raise wrong("nothing scales between equal min and max", "raise max, or take it out", "concurrency_per_copy")
        return self


STEPS: dict[str, list[int]] = {"all_at_once": [100], "canary": [10, 100], "linear": [25, 50, 75, 100]}
"""Percent of the traffic that the next release has after each step, when a spec says nothing."""


class Rollout(Section):
    """How the next release takes over from the one that is live."""

    strategy: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    """all_at_once: in one step. canary: a small share first, then the rest. linear: in equal steps."""
    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(default=[], validate_default=True, max_length=50)
    """Percent of the traffic after each step: `[10, 100]`. canary: [10, 100] when absent; linear: [25, 50, 75, 100]."""
    wait: Duration = Field(default=300.0, ge=0, le=3600)
    """How long each step is watched before the next."""
    rollback_on: list[Alarm] = Field(default=[], max_length=10)
    """Alarms that bring the old release back: `error_rate > 2%`. `monitors.alarms` when absent."""

    @model_validator(mode="before")
    @classmethod
    def _steps_follow_strategy(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "steps" in value:
            return value
        strategy = value.get("strategy", "all_at_once")
        return value | {"steps": STEPS.get(strategy, []) if isinstance(strategy, str) else []}

    @model_validator(mode="after")
    def _steps_fit_strategy(self) -> Self:
        if sorted(set(self.steps)) != self.steps or self.steps[-1:] != [100]:
            raise wrong(f"steps are {self.steps}", "write percent that grow and end at 100: [10, 100]", "steps")
        if self.strategy == "all_at_once" and self.steps != [100]:
            raise wrong("strategy all_at_once has one step", "use strategy: canary or linear, or take steps out", "steps")
        if self.strategy == "canary" and len(self.steps) != 2:
            raise wrong(f"a canary has two steps, and this one {len(self.steps)}", "write [10, 100]; or use linear", "steps")
        if self.strategy == "linear" and not _equal(self.steps):
            raise wrong("linear steps are of one size", "write [25, 50, 75, 100], or use canary", "steps")
        return self

    @property
    def watched(self) -> float:
        """Seconds of waiting in all: after each step, and once more before the old copies go."""
        return (len(self.steps) + 1) * self.wait


def _equal(steps: list[int]) -> bool:
    """Whether each step adds the same: AWS has no others."""
    return len(steps) > 1 and steps == list(range(steps[0], 101, steps[0]))


class Variant(Section):
    """A release that has a share of the traffic."""

    release: int = Field(ge=1)
    """Its number, as `llmspec history` shows it."""
    weight: int = Field(ge=1, le=99)
    """Percent of the traffic, whole: fractions would make every plan a replacement."""


def _shares(variants: list[Variant]) -> list[Variant]:
    numbers = [variant.release for variant in variants]
    for at, number in enumerate(numbers):
        if number in numbers[:at]:
            raise wrong(f"release {number} is named twice", "name each release once", f"[{at}].release")
    if (total := sum(variant.weight for variant in variants)) != 100:
        raise wrong(f"the weights add up to {total}", "make it 100")
    return variants


Variants = Annotated[list[Variant], Field(min_length=2, max_length=10), AfterValidator(_shares)]
"""Shares of the traffic that add up to 100."""
