"""Machines for ECS tasks that need a GPU: an auto scaling group that follows the tasks, over the zones."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import Serving
from infra_pulumi.trust import trusted

if TYPE_CHECKING:
    from infra_pulumi.serving.ecs import EcsArgs

IMAGES = {
    True: "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id",
    False: "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
}
"""With a GPU or without; the newest image when a machine starts."""
ROOT_DISK = "/dev/xvda"


def machines(wanted: Serving, place: EcsArgs, cluster: aws.ecs.Cluster) -> aws.ecs.ClusterCapacityProviders:
    """Twice the copies fit: while a release changes, old and new ones stand side by side."""
    template = _template(wanted, place, cluster)
    tags = {**wanted.tags(), "AmazonECSManaged": "true", "Name": wanted.owner.prefix}
    group = aws.autoscaling.Group(
        "machines",
        min_size=wanted.scale.min,
        max_size=wanted.scale.max * 2 * len(wanted.sides()),
        vpc_zone_identifiers=list(wanted.ground.subnet_ids)[: wanted.scale.zones],
        launch_template=aws.autoscaling.GroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
        protect_from_scale_in=True,
        health_check_type="EC2",
        tags=[aws.autoscaling.GroupTagArgs(key=key, value=value, propagate_at_launch=True) for key, value in tags.items()],
    )
    scaling = aws.ecs.CapacityProviderAutoScalingGroupProviderManagedScalingArgs(status="ENABLED", target_capacity=100)
    provider = aws.ecs.CapacityProvider(
        "machines",
        name=f"machines-{wanted.owner.prefix}",  # a name of AWS's own begins with aws, ecs or fargate; a product's may
        auto_scaling_group_provider=aws.ecs.CapacityProviderAutoScalingGroupProviderArgs(
            auto_scaling_group_arn=group.arn,
            managed_scaling=scaling,
            managed_termination_protection="ENABLED",
            managed_draining="ENABLED",
        ),
        tags=wanted.tags(),
    )
    return aws.ecs.ClusterCapacityProviders("machines", cluster_name=cluster.name, capacity_providers=[provider.name])


def _template(wanted: Serving, place: EcsArgs, cluster: aws.ecs.Cluster) -> aws.ec2.LaunchTemplate:
    profile = _profile(wanted, cluster)
    disk = aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
        volume_size=place.disk_gb, volume_type="gp3", encrypted="true", delete_on_termination="true"
    )
    tags = {**wanted.tags(), "Name": wanted.owner.prefix}
    return aws.ec2.LaunchTemplate(
        "machines",
        image_id=IMAGES[place.gpus > 0],
        instance_type=place.instance,
        iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(arn=profile.arn),
        vpc_security_group_ids=list(wanted.ground.security_group_ids),
        block_device_mappings=[aws.ec2.LaunchTemplateBlockDeviceMappingArgs(device_name=ROOT_DISK, ebs=disk)],
        # One hop: the machine's own credentials stay out of the containers on it.
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        user_data=cluster.name.apply(_joins),
        update_default_version=True,
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags) for kind in ("instance", "volume")
        ],
        tags=wanted.tags(),
    )


def _joins(cluster: str) -> str:
    lines = (
        f"#!/bin/bash\necho ECS_CLUSTER={cluster} >> /etc/ecs/ecs.config\necho ECS_ENABLE_GPU_SUPPORT=true >> /etc/ecs/ecs.config\n"
    )
    return base64.b64encode(lines.encode()).decode()


def _profile(wanted: Serving, cluster: aws.ecs.Cluster) -> aws.iam.InstanceProfile:
    """What ECS's agent on a machine needs, for this cluster only."""
    account = Account(wanted.owner.region)
    of_cluster = {"ArnEquals": {"ecs:cluster": cluster.arn}}
    instances = pulumi.Output.concat(account.arn("ecs", "container-instance/"), cluster.name, "/*")
    tasks = pulumi.Output.concat(account.arn("ecs", "task/"), cluster.name, "/*")
    register = ("ecs:RegisterContainerInstance", "ecs:DeregisterContainerInstance")
    report = tuple(
        f"ecs:{verb}" for verb in ("Poll", "StartTelemetrySession", "UpdateContainerInstancesState", "SubmitContainerStateChange")
    )
    allows = (
        Statement(("ecs:DiscoverPollEndpoint",), ("*",), reason="Where to ask is asked before anything has a name"),
        Statement(register, (cluster.arn,)),
        Statement(("ecs:SubmitTaskStateChange", "ecs:SubmitAttachmentStateChanges"), (cluster.arn, tasks)),
        Statement(report, (cluster.arn, instances), of_cluster),
    )
    role = Role(
        wanted.owner,
        account,
        "machines",
        RoleArgs("endpoint", allows=allows, trusts=(trusted("ec2"),), boundary=wanted.ground.boundary),
        pulumi.ResourceOptions(),
    )
    return aws.iam.InstanceProfile("machines", role=role.name, tags=wanted.tags())
