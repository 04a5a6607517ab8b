"""Scaling of ECS tasks: by the requests that each copy has at work, as the journal counts them."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.journal_metrics import journal_metric
from infra_pulumi.serving.scaling import track
from infra_pulumi.serving.served import Metric
from infra_pulumi.serving.wanted import CONCURRENCY, Serving


def scale_tasks(wanted: Serving, cluster: aws.ecs.Cluster, service: aws.ecs.Service, side: str) -> None:
    """One target and one policy for each variant."""
    target = aws.appautoscaling.Target(
        f"scale-{side}",
        service_namespace="ecs",
        scalable_dimension="ecs:service:DesiredCount",
        resource_id=pulumi.Output.concat("service/", cluster.name, "/", service.name),
        min_capacity=wanted.scale.min,
        max_capacity=wanted.scale.max,
        tags=wanted.tags(),
    )
    tracking = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
        target_value=wanted.scale.concurrency_per_copy or CONCURRENCY,
        customized_metric_specification=_at_work(wanted, cluster, service, side),
        scale_in_cooldown=300,
        scale_out_cooldown=60,
    )
    track(side, target, tracking)


def _at_work(wanted: Serving, cluster: aws.ecs.Cluster, service: aws.ecs.Service, side: str) -> Any:
    """Seconds of requests in a minute, over sixty, are the requests at work (Little's law): a balancer's counts know no streams.
    The journal is one for all variants, so each has its weight's share of it."""
    share = wanted.sides()[side].weight / 100
    running = {"ClusterName": cluster.name, "ServiceName": service.name}
    parts = [
        _part("m1", journal_metric(wanted, "seconds", "Sum")),
        _part("m2", Metric("ECS/ContainerInsights", "RunningTaskCount", "Average", running)),
        _args("Metric")(id="work", expression=f"FILL(m1, 0) * {share:g} / 60 / m2", return_data=True),
    ]
    return _args("")(metrics=parts)


def _part(name: str, metric: Metric) -> Any:
    dimensions = [_args("MetricMetricStatMetricDimension")(name=key, value=value) for key, value in metric.dimensions.items()]
    source = _args("MetricMetricStatMetric")(namespace=metric.namespace, metric_name=metric.name, dimensions=dimensions)
    return _args("Metric")(id=name, metric_stat=_args("MetricMetricStat")(metric=source, stat=metric.statistic), return_data=False)


def _args(part: str) -> Any:
    """The SDK spells the whole path of a nested argument in its name."""
    return getattr(aws.appautoscaling, f"PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecification{part}Args")
