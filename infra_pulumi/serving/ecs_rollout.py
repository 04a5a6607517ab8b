"""How an ECS service takes a new release: all at once behind a circuit breaker, or in steps that alarms can turn back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.balancer import Balancer
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import Rollout, Serving
from infra_pulumi.trust import trusted

ROUND = 3600
"""Seconds for new copies to come up, on new machines where there are none, and for old ones to go, beside the waiting."""


def patience(rollout: Rollout) -> pulumi.CustomTimeouts:
    """How long a service is waited for: the provider alone gives up after twenty minutes, in the midst of the steps."""
    watched = 0 if rollout.strategy == "all_at_once" else rollout.watched
    return pulumi.CustomTimeouts(create=f"{ROUND}s", update=f"{watched + ROUND}s")


def deployment(rollout: Rollout, alarms: Sequence[aws.cloudwatch.MetricAlarm]) -> dict[str, Any]:
    """A service's arguments. The breaker is for copies that do not come up, the alarms for copies that answer badly."""
    names = [alarm.name for alarm in alarms]
    common = {
        "alarms": aws.ecs.ServiceAlarmsArgs(alarm_names=names, enable=True, rollback=True),
        "deployment_minimum_healthy_percent": 100,
        "deployment_maximum_percent": 200,
    }
    if rollout.strategy == "all_at_once":
        breaker = aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True)
        return {**common, "deployment_circuit_breaker": breaker}
    return {**common, "deployment_configuration": _steps(rollout)}


def _steps(rollout: Rollout) -> aws.ecs.ServiceDeploymentConfigurationArgs:
    minutes = str(math.ceil(rollout.wait / 60))
    if rollout.strategy == "canary":
        canary = aws.ecs.ServiceDeploymentConfigurationCanaryConfigurationArgs(
            canary_percent=rollout.steps[0], canary_bake_time_in_minutes=minutes
        )
        return aws.ecs.ServiceDeploymentConfigurationArgs(
            strategy="CANARY", bake_time_in_minutes=minutes, canary_configuration=canary
        )
    linear = aws.ecs.ServiceDeploymentConfigurationLinearConfigurationArgs(
        step_percent=rollout.steps[0], step_bake_time_in_minutes=minutes
    )
    return aws.ecs.ServiceDeploymentConfigurationArgs(strategy="LINEAR", bake_time_in_minutes=minutes, linear_configuration=linear)


def shifting_role(wanted: Serving, balancer: Balancer, account: Account) -> pulumi.Output[str]:
    """ECS itself moves the weights of our one rule between our two groups."""
    targets = tuple(target.arn for target in balancer.targets.values())
    verbs = ("Listeners", "Rules", "TargetGroups", "TargetHealth")
    looks = tuple(f"elasticloadbalancing:Describe{things}" for things in verbs)
    allows = (
        Statement(looks, ("*",), reason="Elastic Load Balancing describes everything or nothing"),
        Statement(("elasticloadbalancing:ModifyRule",), (balancer.rule.arn,)),
        Statement(("elasticloadbalancing:ModifyListener",), (balancer.listener.arn,)),
        Statement(("elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"), targets),
    )
    args = RoleArgs("endpoint", allows=allows, trusts=(trusted("ecs"),), boundary=wanted.ground.boundary)
    return Role(wanted.owner, account, "shift", args, pulumi.ResourceOptions()).arn
