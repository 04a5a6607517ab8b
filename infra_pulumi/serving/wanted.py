"""What a service stack is asked for: the release, where and how wide it is served, and what the foundation gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi

from infra_pulumi.owner import Owner
from llmspec.release import Fleet

PORT = 8080
"""Where the serving container listens, at every place."""
USE = "use"
"""What whoever the platform let in may do: `LLMSPEC_PLATFORM_GRANTS`."""
CONCURRENCY = 8
"""Requests that a copy is given before another copy is started, when the spec says nothing."""


@dataclass(frozen=True)
class Release:
    """What is served: immutable, numbered."""

    number: int
    artifact: str
    """The S3 prefix of the onnx artifact, with a slash at its end."""
    image: str
    digest: str
    """Of the artifact and how it is served; another digest is another release."""
    archive: str = ""
    """The same artifact as one `model.tar.gz`, for SageMaker's serverless form, which takes no prefix."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Plain settings of the container, the packed release among them (`LLMSPEC_RELEASE`); never a secret."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Settings whose value is in Secrets Manager: name -> ARN of the secret."""
    models: Sequence[str] = ()
    """Models that Bedrock serves and this release asks, by the ids or ARNs that specs give them."""

    def settings(self, **more: str) -> dict[str, str]:
        """The container's environment where the place itself brings the artifact; what the release says comes before `more`."""
        return {**more, **self.environment}

    def fetched(self, **more: str) -> dict[str, str]:
        """The container's environment where it fetches its artifact from S3 before it serves."""
        return self.settings(LLMSPEC_MODEL=self.artifact, **more)


@dataclass(frozen=True)
class Scale:
    """How many copies, and when there are more."""

    min: int = 1
    max: int = 1
    concurrency_per_copy: int | None = None
    """Requests at the same time that one copy should have; above it copies are added. Absent: the place's own default."""
    zones: int = 2
    """Availability zones that the copies are spread over."""


@dataclass(frozen=True)
class Alarm:
    """`error_rate > 0.02 for 5m`, in the spec's units: seconds, shares, counts."""

    metric: str
    op: str
    bound: float
    lasting: float = 0.0
    """Seconds for which it must have been true."""

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.bound:g}" + (f" for {self.lasting:g}s" if self.lasting else "")


@dataclass(frozen=True)
class Rollout:
    """How traffic moves to a new release, and what moves it back."""

    strategy: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    steps: Sequence[int] = (100,)
    """Per cent of the traffic after each step."""
    wait: int = 300
    """Seconds between two steps, and after the last one before the old copies go."""
    rollback_on: Sequence[Alarm] = ()

    @property
    def watched(self) -> int:
        """Seconds of waiting in all: after each step, and once more before the old copies go."""
        return (len(self.steps) + 1) * self.wait

    def alarms(self) -> tuple[Alarm, ...]:
        """Never empty: without an alarm no service of AWS rolls anything back."""
        return tuple(self.rollback_on) or (Alarm("error_rate", ">", 0.05),)

    def even_step(self) -> int | None:
        """The step of `25, 50, 75, 100`; None when steps differ."""
        steps = list(self.steps)
        return steps[0] if steps == list(range(steps[0], 101, steps[0])) and steps[-1] == 100 else None


@dataclass(frozen=True)
class Variant:
    """One side of an A/B test."""

    release: Release
    weight: int
    """A whole number: AWS keeps weights as 32-bit floats, and 0.1 would differ at every plan."""


@dataclass(frozen=True)
class Ground:
    """What the foundation stack gives."""

    key_arn: pulumi.Input[str]
    """Encrypts what is stored."""
    log_key_arn: pulumi.Input[str]
    """Encrypts topics. Its policy lets CloudWatch's alarms use it: an alarm that cannot is silent."""
    endpoint_role_arn: pulumi.Input[str]
    """For SageMaker and ECS tasks: reads artifacts, writes under `capture`."""
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    """Private, one per zone."""
    security_group_ids: Sequence[pulumi.Input[str]]
    """What lets a copy reach the VPC's doors to AWS."""
    repository_arn: pulumi.Input[str]
    log_group: pulumi.Input[str]
    """Its name: a container's journal goes there, where the place has no group of its own."""
    monitors_log_group: pulumi.Input[str]
    """Its name: the monitors' job writes `{"metric": "drift", "value": 0.1}` there."""
    capture: pulumi.Input[str]
    """An S3 address without a slash at its end: what the endpoint was asked and answered, as SageMaker captures it."""
    cidr: str = ""
    """The network's addresses: a load balancer in it is believed when it says whose request it passes on."""
    doors_group_id: pulumi.Input[str] = ""
    """The security group of those doors: whose machines stand in none of the groups above is let in by it."""
    public_subnet_ids: Sequence[pulumi.Input[str]] = ()
    user_pool_arn: pulumi.Input[str] | None = None
    streams: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """`journal` and `engagement` -> ARN of the stream that writes such lines into the store. None: they stay in the log."""
    carrier_role_arn: pulumi.Input[str] | None = None
    """For CloudWatch, which hands lines to those streams."""
    boundary: pulumi.Input[str] | None = None
    """The permissions boundary of each role that is made here."""


@dataclass(frozen=True)
class Notify:
    """Who hears of an alarm."""

    email: str = ""
    webhook: pulumi.Input[str] = field(default="", repr=False)
    """An address that takes `{"text": …}`. It is a secret: whoever knows it can write there."""


@dataclass(frozen=True)
class SecondRegion:
    """Where requests go while this region is unhealthy."""

    domain: str
    """The name that users ask, such as `bot.acme.example`."""
    zone_id: str
    """The hosted zone of that name."""
    host: str
    """The host of the same service in the other region."""


@dataclass(frozen=True)
class Monitors:
    """What is watched once it is live."""

    every: int = 900
    """Seconds between two looks of the monitors' job: drift and canary metrics come that often."""
    alarms: Sequence[Alarm] = ()
    notify: Notify = Notify()
    dashboard: bool = True
    second_region: SecondRegion | None = None


@dataclass(frozen=True)
class PlaceArgs:
    """What one place alone needs to know; each program has its own."""

    @property
    def stands(self) -> bool:
        """Whether its copies stand in the foundation's network."""
        return True


FIRST = "primary"
"""The side of the first release, or of the only one."""


@dataclass(frozen=True)
class Serving:
    """All that a service stack is made from."""

    owner: Owner
    release: Release
    place: PlaceArgs
    ground: Ground
    scale: Scale = Scale()
    rollout: Rollout = Rollout()
    variants: Sequence[Variant] = ()
    """Two or more releases side by side; empty: only the release."""
    monitors: Monitors = Monitors()
    log_days: int = 90
    """How long the place's own log group keeps a copy's lines, the journal among them: a number that CloudWatch knows."""
    fleet: Fleet | None = None
    """The copies that work now, where a release would begin with its own number of them otherwise."""

    def sides(self) -> dict[str, Variant]:
        """What is served under which name. Names do not change from release to release: guardrails compare variants by name."""
        given = list(self.variants) or [Variant(self.release, 100)]
        return {FIRST if index == 0 else f"variant-{index + 1}": variant for index, variant in enumerate(given)}

    def tags(self, stage: str = "endpoint") -> dict[str, str]:
        return self.owner.tagged(stage, self.release.number)
