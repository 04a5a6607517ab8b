"""Guardrails: SageMaker moves traffic to the new copies in steps, and back when an alarm rings."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi_aws as aws

from infra_pulumi.serving.wanted import Rollout

MODES = {"all_at_once": "ALL_AT_ONCE", "canary": "CANARY", "linear": "LINEAR"}
ROUND = 3600
"""Seconds for new machines to come up, beside the waiting."""
LONGEST = 14_400
"""The most that SageMaker lets a deployment take."""


def guardrails(rollout: Rollout, alarms: Sequence[aws.cloudwatch.MetricAlarm]) -> aws.sagemaker.EndpointDeploymentConfigArgs:
    """Blue and green side by side; the old copies stay one more wait after the last step, so that the way back is short."""
    policy = aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyArgs(
        traffic_routing_configuration=_routing(rollout),
        termination_wait_in_seconds=rollout.wait,
        maximum_execution_timeout_in_seconds=longest_deployment(rollout),
    )
    names = [aws.sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationAlarmArgs(alarm_name=alarm.name) for alarm in alarms]
    back = aws.sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationArgs(alarms=names)
    return aws.sagemaker.EndpointDeploymentConfigArgs(blue_green_update_policy=policy, auto_rollback_configuration=back)


def longest_deployment(rollout: Rollout) -> int:
    return rollout.watched + ROUND


def _routing(rollout: Rollout) -> aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationArgs:
    part, unit = rollout.steps[0], "CAPACITY_PERCENT"
    canary = aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationCanarySizeArgs(
        type=unit, value=part
    )
    linear = aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationLinearStepSizeArgs(
        type=unit, value=part
    )
    return aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationArgs(
        type=MODES[rollout.strategy],
        wait_interval_in_seconds=rollout.wait,
        canary_size=canary if rollout.strategy == "canary" else None,
        linear_step_size=linear if rollout.strategy == "linear" else None,
    )
