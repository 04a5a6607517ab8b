"""eks: a cluster whose machines, load balancers and GPU drivers AWS keeps (Auto Mode), and the manifests of what runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.address import Address, AddressArgs
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.serving.duties import reading
from infra_pulumi.serving.eks_nodes import addons, group, roles
from infra_pulumi.serving.eks_signals import health, signals
from infra_pulumi.serving.manifests import ACCOUNT, Sizes, manifests, namespace, written
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import PlaceArgs, Serving
from infra_pulumi.trust import trusted

LOGGED = ["api", "audit", "authenticator"]
COLLECTED = ("application", "performance", "host", "dataplane")
"""What CloudWatch's collector writes: a group for each. Ours is the first."""
POOLS = ["system", "general-purpose"]
"""Auto Mode's own, for what is not ours."""


@dataclass(frozen=True)
class EksArgs(PlaceArgs):
    """`places: {endpoint: {eks: …}}`."""

    instance: str = "m7i.xlarge"
    """The machines that copies run on, such as `g5.xlarge`."""
    gpus: int = 0
    """Of one copy."""
    cpu: str = "2"
    """Of one copy, as Kubernetes writes it."""
    memory: str = "8Gi"
    disk: str = "20Gi"
    """For the artifact and what is written beside it."""
    group: bool = False
    """A node group that always holds `min` copies, so that their machines are there before they are asked for."""
    version: str = "1.35"
    """Of Kubernetes."""
    domain: str = ""
    """The name that users ask."""
    certificate_arn: str = ""
    """For HTTPS; absent: one is made for `domain`."""
    zone_id: str = ""
    """The hosted zone of that name."""
    public: bool = False
    open_to: Sequence[str] = ("10.0.0.0/8",)
    """Address ranges that may ask."""
    operators: Sequence[str] = ()
    """Address ranges from which the cluster itself may be reached; empty: from the network only."""
    requests_metric: str = ""
    """The pods' metric of requests at work, where the cluster has an adapter for it; absent: copies follow the processor."""


def eks(wanted: Serving, place: EksArgs) -> Served:
    """Cluster, machines, identity; the manifests are exported, and `llmspec apply` hands them to the cluster."""
    account = Account(wanted.owner.region)
    address = Address("address", AddressArgs(wanted, place.domain, place.zone_id, place.certificate_arn))
    made = roles(wanted, place.group, account)
    cluster = _cluster(wanted, place, made["cluster"].arn, made["nodes"].arn, _log(wanted, f"/aws/eks/{_name(wanted)}/cluster"))
    machines = group(wanted, place, cluster, made["group"].arn) if place.group else None
    logs = {kind: _log(wanted, f"/aws/containerinsights/{_name(wanted)}/{kind}") for kind in COLLECTED}
    installed = addons(wanted, cluster, made["agent"].arn, machines, [*logs.values(), _through_the_doors(wanted, cluster)])
    _identity(wanted, cluster, account)
    return Served(
        url=pulumi.Output.concat("https://", place.domain, "/v1"),
        names={
            "cluster": cluster.name,
            "namespace": namespace(wanted),
            "deployments": {side: side for side in wanted.sides()},
            "manifests": _manifests(wanted, place, address, made["nodes"]),
            "group": machines.node_group_name if machines else "",
            "addons": [addon.addon_name for addon in installed],
            "domain": place.domain,
            "zone": place.zone_id,
        },
        signals=signals(wanted),
        health=health(_name(wanted), namespace(wanted), next(iter(wanted.sides()))),
        log_group=logs["application"].name,
        journal="$.log_processed",
    )


def _name(wanted: Serving) -> str:
    return fitted(wanted.owner.prefix, 100)


def _log(wanted: Serving, name: str) -> aws.cloudwatch.LogGroup:
    """Made before whoever writes to it: what EKS and its collector make themselves is kept for ever."""
    kind = name.rpartition("/")[2]
    return aws.cloudwatch.LogGroup(f"logs-{kind}", name=name, retention_in_days=wanted.log_days, tags=wanted.tags())


def _cluster(
    wanted: Serving, place: EksArgs, role: pulumi.Input[str], nodes: pulumi.Input[str], logs: aws.cloudwatch.LogGroup
) -> aws.eks.Cluster:
    """Secrets are encrypted with our key, and whoever deploys may hand manifests in."""
    provider = aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=wanted.ground.key_arn)
    network = aws.eks.ClusterVpcConfigArgs(
        subnet_ids=list(wanted.ground.subnet_ids)[: wanted.scale.zones],
        endpoint_private_access=True,
        endpoint_public_access=bool(place.operators),
        public_access_cidrs=list(place.operators) or None,
    )
    balancing = aws.eks.ClusterKubernetesNetworkConfigElasticLoadBalancingArgs(enabled=True)
    return aws.eks.Cluster(
        "cluster",
        name=_name(wanted),
        version=place.version,
        # The other way a cluster stays at its version for a year longer, and each hour costs six times as much.
        upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
        role_arn=role,
        bootstrap_self_managed_addons=False,
        access_config=aws.eks.ClusterAccessConfigArgs(authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True),
        compute_config=aws.eks.ClusterComputeConfigArgs(enabled=True, node_pools=POOLS, node_role_arn=nodes),
        kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(elastic_load_balancing=balancing),
        storage_config=aws.eks.ClusterStorageConfigArgs(block_storage=aws.eks.ClusterStorageConfigBlockStorageArgs(enabled=True)),
        encryption_config=aws.eks.ClusterEncryptionConfigArgs(provider=provider, resources=["secrets"]),
        vpc_config=network,
        enabled_cluster_log_types=LOGGED,
        tags=wanted.tags(),
        opts=pulumi.ResourceOptions(depends_on=[logs]),
    )


def _through_the_doors(wanted: Serving, cluster: aws.eks.Cluster) -> aws.vpc.SecurityGroupIngressRule:
    """Auto Mode's own machines stand in the cluster's group alone, whose way out AWS leaves open."""
    return aws.vpc.SecurityGroupIngressRule(
        "doors-from-cluster",
        security_group_id=wanted.ground.doors_group_id,
        referenced_security_group_id=cluster.vpc_config.cluster_security_group_id,
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        description="Machines of the cluster",
        tags=wanted.tags(),
    )


def _identity(wanted: Serving, cluster: aws.eks.Cluster, account: Account) -> None:
    """A pod takes its role by its service account: no key lies anywhere."""
    args = RoleArgs(
        "endpoint",
        allows=reading(wanted, account),
        trusts=(trusted("pods.eks", "sts:TagSession"),),
        boundary=wanted.ground.boundary,
    )
    role = Role(wanted.owner, account, "pods", args, pulumi.ResourceOptions())
    aws.eks.PodIdentityAssociation(
        "pods",
        cluster_name=cluster.name,
        namespace=namespace(wanted),
        service_account=ACCOUNT,
        role_arn=role.arn,
        tags=wanted.tags(),
    )


def _manifests(wanted: Serving, place: EksArgs, address: Address, nodes: Role) -> pulumi.Output[str]:
    """Subnets and certificate may be known only after they were made."""
    subnets = list(wanted.ground.public_subnet_ids if place.public else wanted.ground.subnet_ids)
    known = pulumi.Output.all(
        subnets=pulumi.Output.all(*subnets),
        copies=pulumi.Output.all(*wanted.ground.subnet_ids[: wanted.scale.zones]),
        groups=pulumi.Output.all(*wanted.ground.security_group_ids),
        certificate=address.certificate_arn,
        nodes=nodes.arn,
    )
    sizes = Sizes(place.instance, place.gpus, place.cpu, place.memory, place.disk, place.requests_metric)
    return known.apply(lambda found: written(manifests(wanted, sizes, place.domain, place.public, tuple(place.open_to), **found)))
