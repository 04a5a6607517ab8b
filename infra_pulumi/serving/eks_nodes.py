"""The cluster's roles, its add-ons, and the node group that keeps `min` copies on machines of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement
from infra_pulumi.serving.manifests import LABEL, TAINT
from infra_pulumi.serving.wanted import Serving
from infra_pulumi.trust import trusted

if TYPE_CHECKING:
    from infra_pulumi.serving.eks import EksArgs

CLUSTER = tuple(f"AmazonEKS{part}Policy" for part in ("Cluster", "Compute", "BlockStorage", "LoadBalancing", "Networking"))
NODES = ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly")
GROUP = ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly")
IMAGES = {True: "BOTTLEROCKET_x86_64_NVIDIA", False: "BOTTLEROCKET_x86_64"}
"""With a GPU or without. The NVIDIA one brings driver and device plugin."""
OBSERVED, MEASURED = "amazon-cloudwatch-observability", "metrics-server"
OF_A_GROUP = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Auto Mode's own machines have them built in; a node group's do not."""


OF_AWS = ("cluster", "nodes", "group")
"""Roles that only AWS's own control plane and machines take on, with AWS's own policies. They make balancers, disks and machines,
which a boundary for whoever runs a user's code must not hold; and a list of ours of what EKS does breaks with its next version."""


def roles(wanted: Serving, with_group: bool, account: Account) -> dict[str, Role]:
    """EKS works with the policies that AWS keeps for it: they change with its versions."""
    wishes = {
        "cluster": ("eks", ("sts:TagSession",), CLUSTER),
        "nodes": ("ec2", (), NODES),
        "agent": ("pods.eks", ("sts:TagSession",), ("CloudWatchAgentServerPolicy",)),
        **({"group": ("ec2", (), GROUP)} if with_group else {}),
    }
    made = {}
    for name, (service, more, policies) in wishes.items():
        managed = [account.managed(policy) for policy in policies]
        ceiling = None if name in OF_AWS else wanted.ground.boundary
        allows = tagging(wanted, account) if name == "cluster" else ()
        args = RoleArgs("endpoint", allows=allows, trusts=(trusted(service, *more),), managed=managed, boundary=ceiling)
        made[name] = Role(wanted.owner, account, f"eks-{name}", args, pulumi.ResourceOptions())
    return made


def tagging(wanted: Serving, account: Account) -> tuple[Statement, ...]:
    """Machines and a load balancer with our tags on them: AWS's own policies let a cluster make and change them with EKS's only,
    and what has none of ours is in no budget."""
    name, owner = fitted(wanted.owner.prefix, 100), wanted.owner
    asked = {"eks:eks-cluster-name": name, "llmspec:name": owner.name, "llmspec:target": owner.target}
    fence = {"StringEquals": {f"aws:RequestTag/{key}": value for key, value in asked.items()}}
    mine = {"StringEquals": {"aws:ResourceTag/eks:eks-cluster-name": name}}
    balanced = tuple(
        account.arn("elasticloadbalancing", f"{kind}/*") for kind in ("loadbalancer", "listener", "listener-rule", "targetgroup")
    )
    groups = account.arn("ec2", "security-group/*")
    machines = tuple(
        account.arn("ec2", f"{kind}/*") for kind in ("fleet", "instance", "launch-template", "network-interface", "volume")
    )
    starts = tuple(f"ec2:{each}" for each in ("CreateFleet", "CreateLaunchTemplate", "CreateNetworkInterface", "RunInstances"))
    makes = tuple(f"elasticloadbalancing:Create{each}" for each in ("LoadBalancer", "TargetGroup", "Listener", "Rule"))
    named = "EKS names what it makes, and the tags are the fence"
    return (
        Statement((*makes, "ec2:CreateSecurityGroup"), (*balanced, groups), fence, reason=named),
        Statement(starts, machines, fence, reason=named),
        Statement(("elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"), balanced, mine, reason=named),
        Statement(("ec2:CreateTags", "ec2:DeleteTags"), (groups,), mine, reason=named),
    )


def group(wanted: Serving, place: EksArgs, cluster: aws.eks.Cluster, role: pulumi.Input[str]) -> aws.eks.NodeGroup:
    """What comes above `min` Auto Mode starts and ends itself. One copy a machine, and one more while a machine is replaced."""
    count = wanted.scale.min
    return aws.eks.NodeGroup(
        "copies",
        cluster_name=cluster.name,
        node_group_name="copies",
        node_role_arn=role,
        subnet_ids=list(wanted.ground.subnet_ids)[: wanted.scale.zones],
        ami_type=IMAGES[place.gpus > 0],
        instance_types=[place.instance],
        disk_size=100,
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(min_size=count, desired_size=count, max_size=count + 1),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
        labels={LABEL: wanted.owner.name},
        taints=[aws.eks.NodeGroupTaintArgs(key=TAINT, value="true", effect="NO_SCHEDULE")] if place.gpus else None,
        tags=wanted.tags(),
    )


def addons(
    wanted: Serving,
    cluster: aws.eks.Cluster,
    agent: pulumi.Input[str],
    machines: aws.eks.NodeGroup | None,
    after: Sequence[pulumi.Resource],
) -> list[aws.eks.Addon]:
    """Logs and metrics to CloudWatch, processor load for scaling. Log groups come first, with an end to their keeping, and
    the way through which images are fetched: without it an add-on waits until AWS gives it up."""
    collects = aws.eks.AddonPodIdentityAssociationArgs(role_arn=agent, service_account="cloudwatch-agent")
    plain = {MEASURED: None, OBSERVED: [collects], **(dict.fromkeys(OF_A_GROUP) if machines else {})}
    everywhere = json.dumps({"tolerations": [{"operator": "Exists"}]})
    return [
        aws.eks.Addon(
            name,
            cluster_name=cluster.name,
            addon_name=name,
            pod_identity_associations=associations,
            configuration_values=everywhere if name == OBSERVED else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=wanted.tags(),
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        for name, associations in plain.items()
    ]
