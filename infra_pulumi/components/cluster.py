"""cluster: where jobs at ECS run. It holds no machine: Fargate brings one for each task, and takes it away with it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.owner import Owner


@dataclass(frozen=True)
class ClusterArgs:
    """`places: {data: ecs}`, or any other job's."""

    insights: bool = False
    """Metrics of each task, which CloudWatch counts and charges by the metric."""


class Cluster(pulumi.ComponentResource):
    """Apart from the endpoint's, which its service brings: jobs come before there is a service, and stay without one."""

    def __init__(self, owner: Owner, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llmspec:aws:Cluster", "cluster", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        setting: aws.ecs.ClusterSettingArgsDict = {"name": "containerInsights", "value": "enabled" if args.insights else "disabled"}
        name, tags = f"{owner.prefix}-jobs", owner.tagged("cluster")
        self.cluster = aws.ecs.Cluster("jobs", name=name, settings=[setting], tags=tags, opts=mine)
        aws.ecs.ClusterCapacityProviders("jobs", cluster_name=self.cluster.name, capacity_providers=["FARGATE"], opts=mine)
        self.register_outputs({"cluster": self.cluster.name})
