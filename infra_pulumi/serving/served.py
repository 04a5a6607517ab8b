"""What a serving program gives back: its address, its names, and how its numbers are read in CloudWatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class Metric:
    """One of CloudWatch's metrics and how a minute of it becomes a number."""

    namespace: str
    name: str
    statistic: str
    dimensions: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True)
class Signal:
    """A metric of the spec, in the spec's unit, computed from metrics m1, m2 …"""

    expression: str
    metrics: tuple[Metric, ...]
    period: int = 60
    missing: str = "notBreaching"
    """What a period without data means: no request is no fault; a number that comes every quarter of an hour stays what it was."""


@dataclass(frozen=True)
class Health:
    """The plain alarm behind a Route 53 health check, which takes neither arithmetic nor percentiles."""

    metric: Metric
    op: str
    bound: float
    missing: str = "notBreaching"


@dataclass(frozen=True)
class Served:
    """A service that runs."""

    url: pulumi.Output[str]
    names: Mapping[str, Any]
    """What is needed to ask AWS what really runs."""
    signals: Mapping[str, Signal]
    health: Health
    log_group: pulumi.Input[str]
    """Where the container's journal lines arrive."""
    journal: str = "$"
    """Where in a log event the line is: EKS wraps it."""
    rollback: Sequence[aws.cloudwatch.MetricAlarm] = ()
    """The alarms that a rollout watches."""
    point: Callable[[pulumi.Input[str] | None], aws.route53.Record | None] | None = None
    """Makes the record of its name, which follows the health check that it is given; None where no record can lead to it."""
