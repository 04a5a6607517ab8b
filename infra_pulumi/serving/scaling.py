"""Scaling of SageMaker's instances: by requests at work, or, where requests wait in a queue, by the queue."""

from __future__ import annotations

import pulumi_aws as aws

from infra_pulumi.serving.wanted import CONCURRENCY, Serving

SERVICE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"


def scale_instances(wanted: Serving, endpoint: aws.sagemaker.Endpoint, side: str, waits: bool) -> None:
    """One target and one policy for each variant."""
    target = aws.appautoscaling.Target(
        f"scale-{side}",
        service_namespace=SERVICE,
        scalable_dimension=DIMENSION,
        resource_id=endpoint.name.apply(lambda name: f"endpoint/{name}/variant/{side}"),
        min_capacity=wanted.scale.min,
        max_capacity=wanted.scale.max,
        tags=wanted.tags(),
    )
    concurrency = wanted.scale.concurrency_per_copy or CONCURRENCY
    track(side, target, _by_queue(endpoint, concurrency) if waits else _by_concurrency(concurrency))
    if waits and wanted.scale.min == 0:
        _wake(wanted, endpoint, side, target)


def track(
    side: str, target: aws.appautoscaling.Target, tracking: aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs
) -> None:
    """Copies follow a number, up and down."""
    aws.appautoscaling.Policy(
        f"track-{side}",
        policy_type="TargetTrackingScaling",
        service_namespace=target.service_namespace,
        scalable_dimension=target.scalable_dimension,
        resource_id=target.resource_id,
        target_tracking_scaling_policy_configuration=tracking,
    )


def _by_concurrency(concurrency: int) -> aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs:
    """Measured every ten seconds. A stream is one request for all its seconds, which a count of invocations would not see."""
    metric = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
        predefined_metric_type="SageMakerVariantConcurrentRequestsPerModelHighResolution"
    )
    return aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
        target_value=concurrency, predefined_metric_specification=metric, scale_in_cooldown=300, scale_out_cooldown=30
    )


def _by_queue(
    endpoint: aws.sagemaker.Endpoint, concurrency: int
) -> aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs:
    part = "PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecification"
    dimension = getattr(aws.appautoscaling, f"{part}DimensionArgs")(name="EndpointName", value=endpoint.name)
    metric = getattr(aws.appautoscaling, f"{part}Args")(
        namespace="AWS/SageMaker", metric_name="ApproximateBacklogSizePerInstance", statistic="Average", dimensions=[dimension]
    )
    return aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
        target_value=concurrency, customized_metric_specification=metric, scale_in_cooldown=300, scale_out_cooldown=60
    )


def _wake(wanted: Serving, endpoint: aws.sagemaker.Endpoint, side: str, target: aws.appautoscaling.Target) -> None:
    """From no copy at all the backlog *per copy* has no value; this alarm starts the first one."""
    step = aws.appautoscaling.PolicyStepScalingPolicyConfigurationStepAdjustmentArgs(
        scaling_adjustment=1, metric_interval_lower_bound="0"
    )
    policy = aws.appautoscaling.Policy(
        f"wake-{side}",
        policy_type="StepScaling",
        service_namespace=SERVICE,
        scalable_dimension=DIMENSION,
        resource_id=target.resource_id,
        step_scaling_policy_configuration=aws.appautoscaling.PolicyStepScalingPolicyConfigurationArgs(
            adjustment_type="ChangeInCapacity", cooldown=300, metric_aggregation_type="Maximum", step_adjustments=[step]
        ),
    )
    name = f"{wanted.owner.prefix}-wake-{side}"
    aws.cloudwatch.MetricAlarm(
        name,
        name=name,
        alarm_description="Requests wait, and no copy runs",
        namespace="AWS/SageMaker",
        metric_name="HasBacklogWithoutCapacity",
        statistic="Average",
        dimensions={"EndpointName": endpoint.name},
        period=60,
        evaluation_periods=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=1,
        treat_missing_data="missing",
        alarm_actions=[policy.arn],
        tags=wanted.tags(),
    )
