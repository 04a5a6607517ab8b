"""ecs: a load balancer, a cluster with its capacity, and one service for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.address import Address, AddressArgs
from infra_pulumi.components.alarms import rollback_alarms
from infra_pulumi.components.balancer import Balancer, BalancerArgs
from infra_pulumi.names import fitted
from infra_pulumi.serving.balancer_signals import health, signals
from infra_pulumi.serving.ecs_capacity import machines
from infra_pulumi.serving.ecs_rollout import deployment, patience, shifting_role
from infra_pulumi.serving.ecs_scaling import scale_tasks
from infra_pulumi.serving.ecs_task import SERVER, task
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import PORT, PlaceArgs, Serving

GREEN = "green"
"""The target group in which the next release comes up when traffic is shifted in steps."""


@dataclass(frozen=True)
class EcsArgs(PlaceArgs):
    """`places: {endpoint: {ecs: …}}`."""

    cpu: int = 2048
    """Of one copy; 1024 is a processor."""
    memory_mb: int = 8192
    instance: str = ""
    """An EC2 type, such as `g5.xlarge`; absent: Fargate, which has no GPU."""
    gpus: int = 0
    """Of one copy."""
    disk_gb: int = 50
    """For the image and the artifact."""
    public: bool = False
    """Whether the internet may ask; else only the network and what is joined to it."""
    open_to: Sequence[str] = ("10.0.0.0/8",)
    """Address ranges that may ask."""
    certificate_arn: str = ""
    """For HTTPS; absent: one is made for `domain`."""
    domain: str = ""
    """The name that users ask."""
    zone_id: str = ""
    """The hosted zone of that name."""


def ecs(wanted: Serving, place: EcsArgs) -> Served:
    """All of it; the pieces are in the files beside this one."""
    shifted = wanted.rollout.strategy != "all_at_once"
    address = Address("address", AddressArgs(wanted, place.domain, place.zone_id, place.certificate_arn))
    balancer = _balancer(wanted, place, address.certificate_arn, shifted)
    cluster = _cluster(wanted)
    found = signals(wanted, balancer.balancer.arn_suffix)
    alarms = rollback_alarms(wanted, found)
    capacity = machines(wanted, place, cluster) if place.instance else None
    services = {side: _service(wanted, place, side, cluster, balancer, alarms, capacity) for side in wanted.sides()}
    if wanted.scale.max > wanted.scale.min:
        for side, service in services.items():
            scale_tasks(wanted, cluster, service, side)
    host = place.domain or balancer.balancer.dns_name
    return Served(
        url=pulumi.Output.concat("https://", host, "/v1"),
        names={
            "cluster": cluster.name,
            "services": {side: service.name for side, service in services.items()},
            "tasks": {side: service.task_definition for side, service in services.items()},
            "balancer": balancer.balancer.arn,
            "rule": balancer.rule.arn,
            "green": balancer.targets[GREEN].arn if shifted else "",
        },
        signals=found,
        health=health(balancer.balancer.arn_suffix),
        log_group=wanted.ground.log_group,
        rollback=alarms,
        point=partial(address.point, balancer.balancer),
    )


def _balancer(wanted: Serving, place: EcsArgs, certificate: pulumi.Input[str], shifted: bool) -> Balancer:
    weights = {side: variant.weight for side, variant in wanted.sides().items()}
    args = BalancerArgs(wanted, certificate, {**weights, **({GREEN: 0} if shifted else {})}, place.public, place.open_to, shifted)
    return Balancer("balancer", args)


def _cluster(wanted: Serving) -> aws.ecs.Cluster:
    """Container Insights count the copies that run, which scaling divides by."""
    insights = aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")
    return aws.ecs.Cluster("cluster", name=fitted(wanted.owner.prefix, 255), settings=[insights], tags=wanted.tags())


def _service(
    wanted: Serving,
    place: EcsArgs,
    side: str,
    cluster: aws.ecs.Cluster,
    balancer: Balancer,
    alarms: Sequence[aws.cloudwatch.MetricAlarm],
    capacity: aws.ecs.ClusterCapacityProviders | None,
) -> aws.ecs.Service:
    """Desired is only where it begins: scaling decides from then on."""
    account, scaled = Account(wanted.owner.region), wanted.scale.max > wanted.scale.min
    made = task(wanted, place, side, account)
    shift = shifting_role(wanted, balancer, account) if wanted.rollout.strategy != "all_at_once" else None
    network = aws.ecs.ServiceNetworkConfigurationArgs(
        subnets=list(wanted.ground.subnet_ids)[: wanted.scale.zones],
        security_groups=[*wanted.ground.security_group_ids, balancer.copies.id],
    )
    target = aws.ecs.ServiceLoadBalancerArgs(
        container_name=SERVER,
        container_port=PORT,
        target_group_arn=balancer.targets[side].arn,
        advanced_configuration=_both(balancer, shift) if shift is not None else None,
    )
    providers = None
    if capacity is not None:
        name = capacity.capacity_providers.apply(lambda names: (names or [""])[0])
        providers = [aws.ecs.ServiceCapacityProviderStrategyArgs(capacity_provider=name, weight=1)]
    spread = [aws.ecs.ServiceOrderedPlacementStrategyArgs(type="spread", field="attribute:ecs.availability-zone")]
    return aws.ecs.Service(
        f"service-{side}",
        name=side,
        cluster=cluster.arn,
        task_definition=made.arn,
        desired_count=wanted.scale.min,
        launch_type=None if providers else "FARGATE",
        capacity_provider_strategies=providers,
        ordered_placement_strategies=spread if providers else None,
        availability_zone_rebalancing="ENABLED",
        network_configuration=network,
        load_balancers=[target],
        health_check_grace_period_seconds=600,
        enable_ecs_managed_tags=True,
        propagate_tags="SERVICE",
        wait_for_steady_state=True,
        tags=wanted.tags(),
        opts=pulumi.ResourceOptions(
            depends_on=[balancer.rule, *alarms],
            ignore_changes=["desiredCount"] if scaled else None,
            custom_timeouts=patience(wanted.rollout),
        ),
        **deployment(wanted.rollout, alarms),
    )


def _both(balancer: Balancer, role: pulumi.Output[str]) -> aws.ecs.ServiceLoadBalancerAdvancedConfigurationArgs:
    return aws.ecs.ServiceLoadBalancerAdvancedConfigurationArgs(
        alternate_target_group_arn=balancer.targets[GREEN].arn,
        production_listener_rule=balancer.rule.arn,
        role_arn=role,
    )
