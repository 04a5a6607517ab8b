"""A function's rollout in steps: CodeDeploy moves the alias, and back when an alarm rings. The place starts it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import Rollout, Serving


class Shift(pulumi.ComponentResource):
    """Application, steps, group. What moves is said when a deployment is started: alias, old version, new version."""

    def __init__(
        self,
        name: str,
        wanted: Serving,
        alarms: Sequence[aws.cloudwatch.MetricAlarm],
        opts: pulumi.ResourceOptions | None = None,
    ):
        super().__init__("llmspec:service:Shift", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        prefix = wanted.owner.prefix
        application = aws.codedeploy.Application(name, name=prefix, compute_platform="Lambda", tags=wanted.tags(), opts=child)
        steps = aws.codedeploy.DeploymentConfig(
            name,
            deployment_config_name=f"{prefix}-{wanted.rollout.strategy}-{wanted.rollout.steps[0]}-{_minutes(wanted.rollout)}",
            compute_platform="Lambda",
            traffic_routing_config=_steps(wanted.rollout),
            opts=child,
        )
        group = aws.codedeploy.DeploymentGroup(
            name,
            app_name=application.name,
            deployment_group_name=prefix,
            deployment_config_name=steps.deployment_config_name,
            service_role_arn=_role(wanted, child).arn,
            deployment_style=aws.codedeploy.DeploymentGroupDeploymentStyleArgs(
                deployment_option="WITH_TRAFFIC_CONTROL", deployment_type="BLUE_GREEN"
            ),
            auto_rollback_configuration=aws.codedeploy.DeploymentGroupAutoRollbackConfigurationArgs(
                enabled=True, events=["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"]
            ),
            alarm_configuration=aws.codedeploy.DeploymentGroupAlarmConfigurationArgs(
                enabled=True, alarms=[alarm.name for alarm in alarms]
            ),
            tags=wanted.tags(),
            opts=child,
        )
        self.names = {"application": application.name, "group": group.deployment_group_name}
        self.register_outputs(self.names)


def _minutes(rollout: Rollout) -> int:
    return max(1, math.ceil(rollout.wait / 60))


def _steps(rollout: Rollout) -> aws.codedeploy.DeploymentConfigTrafficRoutingConfigArgs:
    share, minutes = rollout.steps[0], _minutes(rollout)
    if rollout.strategy == "canary":
        canary = aws.codedeploy.DeploymentConfigTrafficRoutingConfigTimeBasedCanaryArgs(percentage=share, interval=minutes)
        return aws.codedeploy.DeploymentConfigTrafficRoutingConfigArgs(type="TimeBasedCanary", time_based_canary=canary)
    linear = aws.codedeploy.DeploymentConfigTrafficRoutingConfigTimeBasedLinearArgs(percentage=share, interval=minutes)
    return aws.codedeploy.DeploymentConfigTrafficRoutingConfigArgs(type="TimeBasedLinear", time_based_linear=linear)


def _role(wanted: Serving, opts: pulumi.ResourceOptions) -> Role:
    """The aliases of this function, and the state of our alarms."""
    account = Account(wanted.owner.region)
    function = account.arn("lambda", f"function:{fitted(wanted.owner.prefix, 64)}")
    alarms = account.arn("cloudwatch", f"alarm:{wanted.owner.prefix}-*")
    moves = ("lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig")
    allows = (
        Statement(moves, (function, pulumi.Output.concat(function, ":*"))),
        Statement(("cloudwatch:DescribeAlarms",), (alarms,)),
    )
    args = RoleArgs("endpoint", ("codedeploy",), allows, boundary=wanted.ground.boundary)
    return Role(wanted.owner, account, "shift", args, opts)
