"""Alarms: `p95_latency > 1s for 5m` becomes CloudWatch's arithmetic over a place's metrics, in the spec's own units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from infra_pulumi.names import fitted
from infra_pulumi.serving.limits import OPERATORS
from infra_pulumi.serving.served import Health, Metric, Signal
from infra_pulumi.serving.wanted import Alarm, Serving

HEALTH = "unhealthy"


def _queries(signal: Signal) -> list[aws.cloudwatch.MetricAlarmMetricQueryArgs]:
    """m1, m2 … and what is made of them; only the last is compared."""
    parts = [
        aws.cloudwatch.MetricAlarmMetricQueryArgs(id=f"m{index}", metric=_read(metric, signal.period), return_data=False)
        for index, metric in enumerate(signal.metrics, 1)
    ]
    value = aws.cloudwatch.MetricAlarmMetricQueryArgs(id="value", expression=signal.expression, label="value", return_data=True)
    return [*parts, value]


def _read(metric: Metric, period: int) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
    return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace=metric.namespace, metric_name=metric.name, stat=metric.statistic, period=period, dimensions=metric.dimensions
    )


def ring(
    name: str,
    alarm: Alarm,
    signal: Signal,
    tags: Mapping[str, str],
    actions: Sequence[pulumi.Input[str]] = (),
    options: pulumi.ResourceOptions | None = None,
) -> aws.cloudwatch.MetricAlarm:
    """It rings when the comparison was true in every period of its time."""
    periods = max(1, math.ceil(alarm.lasting / signal.period))
    return aws.cloudwatch.MetricAlarm(
        name,
        name=name,
        alarm_description=str(alarm),
        comparison_operator=OPERATORS[alarm.op],
        threshold=alarm.bound,
        evaluation_periods=periods,
        datapoints_to_alarm=periods,
        metric_queries=_queries(signal),
        treat_missing_data=signal.missing,
        alarm_actions=list(actions),
        ok_actions=list(actions),
        tags=tags,
        opts=options,
    )


def rollback_alarms(
    wanted: Serving, signals: Mapping[str, Signal], options: pulumi.ResourceOptions | None = None
) -> list[aws.cloudwatch.MetricAlarm]:
    """What a rollout watches; there is always at least one. The monitors' alarms tell people, these stop a release."""
    return [
        ring(alarm_name(wanted, f"rollback-{index}", alarm.metric), alarm, signals[alarm.metric], wanted.tags(), options=options)
        for index, alarm in enumerate(wanted.rollout.alarms(), 1)
    ]


def health_alarm(
    wanted: Serving, health: Health, actions: Sequence[pulumi.Input[str]], options: pulumi.ResourceOptions | None = None
) -> aws.cloudwatch.MetricAlarm:
    """One metric, one statistic, three minutes: all that a Route 53 health check can follow."""
    name = alarm_name(wanted, HEALTH)
    return aws.cloudwatch.MetricAlarm(
        name,
        name=name,
        alarm_description="The service does not answer",
        namespace=health.metric.namespace,
        metric_name=health.metric.name,
        statistic=health.metric.statistic,
        dimensions=health.metric.dimensions,
        period=60,
        evaluation_periods=3,
        comparison_operator=OPERATORS[health.op],
        threshold=health.bound,
        treat_missing_data=health.missing,
        alarm_actions=list(actions),
        ok_actions=list(actions),
        tags=wanted.tags("monitors"),
        opts=options,
    )


def alarm_name(wanted: Serving, *words: str) -> str:
    return fitted("-".join((wanted.owner.prefix, *words)), 255)
