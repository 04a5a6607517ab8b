"""The task of an ECS service: one container, what it may use, and where its lines go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import PORT, Release, Serving

if TYPE_CHECKING:
    from infra_pulumi.serving.ecs import EcsArgs

SERVER = "server"
STOP_SECONDS = 120
"""From SIGTERM to SIGKILL: answers that are being given are finished."""
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


def task(wanted: Serving, place: EcsArgs, side: str, account: Account) -> aws.ecs.TaskDefinition:
    """The container runs with the foundation's endpoint role; a second role only starts it."""
    release, fargate = wanted.sides()[side].release, not place.instance
    disk = aws.ecs.TaskDefinitionEphemeralStorageArgs(size_in_gib=place.disk_gb) if fargate else None
    return aws.ecs.TaskDefinition(
        f"task-{side}",
        family=fitted(f"{wanted.owner.prefix}-{side}", 255),
        requires_compatibilities=["FARGATE" if fargate else "EC2"],
        network_mode="awsvpc",
        cpu=str(place.cpu),
        memory=str(place.memory_mb),
        ephemeral_storage=disk,
        execution_role_arn=_starter(wanted, release, side, account).arn,
        task_role_arn=wanted.ground.endpoint_role_arn,
        container_definitions=_containers(wanted, place, release),
        tags=wanted.owner.tagged("endpoint", release.number),
    )


def _containers(wanted: Serving, place: EcsArgs, release: Release) -> pulumi.Output[str]:
    """Secrets are named here; ECS reads them when the container starts."""
    logs = {
        "awslogs-group": wanted.ground.log_group,
        "awslogs-region": wanted.owner.region,
        "awslogs-stream-prefix": f"r{release.number}",
    }
    server: dict[str, Any] = {
        "name": SERVER,
        "image": release.image,
        "essential": True,
        "command": ["serve"],
        "portMappings": [{"containerPort": PORT, "hostPort": PORT, "protocol": "tcp"}],
        "environment": [{"name": name, "value": value} for name, value in sorted(settings(wanted, release).items())],
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(release.secrets.items())],
        "resourceRequirements": [{"type": "GPU", "value": str(place.gpus)}] if place.gpus else [],
        "linuxParameters": {"initProcessEnabled": True},
        "stopTimeout": STOP_SECONDS,
        "logConfiguration": {"logDriver": "awslogs", "options": logs},
    }
    return pulumi.Output.json_dumps([server], sort_keys=True)


def settings(wanted: Serving, release: Release) -> dict[str, str]:
    """Limits count real clients only when the load balancer is believed."""
    believed = {"FORWARDED_ALLOW_IPS": wanted.ground.cidr} if wanted.ground.cidr else {}
    return release.fetched(LLMSPEC_STOP_SECONDS=str(STOP_SECONDS), **believed)


def _starter(wanted: Serving, release: Release, side: str, account: Account) -> Role:
    """Pulls the image, opens the log, fetches the secrets."""
    ground = wanted.ground
    group = pulumi.Output.concat(account.arn("logs", "log-group:"), ground.log_group, ":log-stream:*")
    allows = [
        Statement(("ecr:GetAuthorizationToken",), ("*",), reason="A registry's login names no repository"),
        Statement(PULL, (ground.repository_arn,)),
        Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group,)),
    ]
    if release.secrets:
        allows.append(Statement(("secretsmanager:GetSecretValue",), tuple(release.secrets.values())))
        allows.append(Statement(("kms:Decrypt",), (ground.key_arn,)))
    args = RoleArgs("endpoint", ("ecs-tasks",), tuple(allows), boundary=ground.boundary)
    return Role(wanted.owner, account, f"starter-{side}", args, pulumi.ResourceOptions())
