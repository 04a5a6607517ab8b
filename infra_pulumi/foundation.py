"""foundation: what a product stands on in AWS, long-lived. This is the map; each line's room is `components/<name>.py`."""

from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.access import Access, AccessArgs
from infra_pulumi.components.audit import Audit, AuditArgs
from infra_pulumi.components.backup import Backup, BackupArgs
from infra_pulumi.components.cluster import Cluster, ClusterArgs
from infra_pulumi.components.cost import Cost, CostArgs
from infra_pulumi.components.data import Data, DataArgs
from infra_pulumi.components.events import Events, EventsArgs
from infra_pulumi.components.identity import Identity, IdentityArgs
from infra_pulumi.components.keys import Keys, KeysArgs
from infra_pulumi.components.logs import Logs, LogsArgs
from infra_pulumi.components.network import Network, NetworkArgs
from infra_pulumi.components.registry import Registry, RegistryArgs
from infra_pulumi.components.storage import Storage, StorageArgs
from infra_pulumi.owner import Owner

LONGEST_PREFIX = 44
"""An IAM role's name takes 64 letters, and what comes after the prefix up to 20."""


@dataclass(frozen=True)
class FoundationArgs:
    """One product at one target. What is None is not made."""

    owner: Owner
    storage: StorageArgs
    keys: KeysArgs = field(default_factory=KeysArgs)
    logs: LogsArgs = field(default_factory=LogsArgs)
    identity: IdentityArgs = field(default_factory=IdentityArgs)
    registry: RegistryArgs | None = field(default_factory=RegistryArgs)
    network: NetworkArgs | None = None
    data: DataArgs | None = None
    cluster: ClusterArgs | None = None
    audit: AuditArgs | None = None
    backup: BackupArgs | None = None
    cost: CostArgs | None = None
    access: AccessArgs | None = None
    events: EventsArgs | None = None

    def __post_init__(self) -> None:
        if len(self.owner.prefix) > LONGEST_PREFIX:
            raise ValueError(f"{self.owner.prefix}: name and target together take {LONGEST_PREFIX} letters at most, for IAM's sake")
        if self.registry and "build" not in self.identity.kinds:
            raise ValueError("registry: images are built with a role of their own; add 'build' to identity.kinds")
        if self.owner.region in self.regions:
            raise ValueError(f"{self.owner.region}: a copy in the same region is lost with it; name another one")

    @property
    def regions(self) -> tuple[str, ...]:
        """Where copies lie."""
        named = (self.storage.replicate_to, self.backup.copy_to if self.backup else None)
        return tuple(sorted({region for region in named if region}))

    @property
    def images(self) -> RegistryArgs | None:
        """The registry; where there is a Spark, it also builds what that unpacks."""
        return replace(self.registry, spark=self.data is not None) if self.registry else None


class Foundation(pulumi.ComponentResource):
    """Keys first, since everything is encrypted; then where things lie, who may do what, and who watches."""

    def __init__(self, args: FoundationArgs) -> None:
        owner = self.owner = args.owner
        provider = aws.Provider("aws", region=owner.region)
        super().__init__("llmspec:aws:Foundation", owner.prefix, None, pulumi.ResourceOptions(providers=[provider]))
        mine = pulumi.ResourceOptions(parent=self)
        elsewhere = {region: aws.Provider(f"aws-{region}", region=region, opts=mine) for region in args.regions}
        account = Account(owner.region, pulumi.InvokeOptions(parent=self), elsewhere)

        self.keys = Keys(owner, account, args.keys, mine)
        self.storage = Storage(owner, account, args.storage, self.keys, mine)
        self.logs = Logs(owner, self.keys, args.logs, mine)
        self.network = Network(owner, account, args.network, self.logs, mine) if args.network else None
        self.identity = Identity(owner, account, args.identity, args.storage, self.keys, self.network, mine)
        self.registry = self._registry(account, args.images, mine) if args.images else None
        self.data = Data(owner, args.data, self.storage, self.network, mine) if args.data else None
        self.cluster = Cluster(owner, args.cluster, mine) if args.cluster else None
        self.events = Events(owner, account, args.events, self.keys, self.logs, self.storage, mine) if args.events else None
        self.access = Access(owner, args.access, mine) if args.access else None
        self.audit = Audit(owner, account, args.audit, self.keys, self.storage, mine) if args.audit else None
        self.backup = Backup(owner, account, args.backup, self.keys, self.storage, mine) if args.backup else None
        self.cost = Cost(owner, account, args.cost, self.keys, mine) if args.cost else None
        self.outputs = self._outputs()
        self.register_outputs(self.outputs)

    def _registry(self, account: Account, args: RegistryArgs, mine: pulumi.ResourceOptions) -> Registry:
        builder = self.identity.roles["build"].arn
        return Registry(self.owner, account, args, self.keys, self.logs, self.storage, builder, mine)

    def _outputs(self) -> dict[str, Any]:
        """What the service stack and the places ask for. A part that was not made is not there."""
        deployer = self.identity.deployer
        always = {
            "bucket": self.storage.store.name,
            "product": self.storage.product,
            "replica_bucket": self.storage.replica and self.storage.replica.name,
            "data_key": self.keys.data.arn,
            "logs_key": self.keys.logs.arn,
            "roles": {kind: role.arn for kind, role in self.identity.roles.items()},
            "boundary": self.identity.boundary.arn,
            "deploy_role": deployer and deployer.role.arn,
            "plan_role": deployer and deployer.reader.arn,
            "log_groups": {kind: group.name for kind, group in self.logs.groups.items()},
        }
        found = {**always, **self._of_network(), **self._of_registry(), **self._of_the_rest()}
        return {name: value for name, value in found.items() if value is not None}

    def _of_network(self) -> dict[str, Any]:
        if self.network is None:
            return {}
        return {
            "vpc": self.network.vpc.id,
            "cidr": self.network.cidr,
            "private_subnets": [subnet.id for subnet in self.network.private],
            "public_subnets": [subnet.id for subnet in self.network.public],
            "work_security_group": self.network.work.id,
            "doors_security_group": self.network.doors.group.id,
        }

    def _of_registry(self) -> dict[str, Any]:
        if self.registry is None:
            return {}
        return {
            "repositories": {image: repository.repository_url for image, repository in self.registry.repositories.items()},
            "repository_arns": {image: repository.arn for image, repository in self.registry.repositories.items()},
            "build_projects": {image: project.name for image, project in self.registry.projects.items()},
        }

    def _of_the_rest(self) -> dict[str, Any]:
        return {
            "spark_application": self.data and self.data.application.id,
            "cluster": self.cluster and self.cluster.cluster.name,
            "database": self.data and self.data.database.name,
            "streams": self.events and {stream: made.arn for stream, made in self.events.streams.items()},
            "carrier_role": self.events and self.events.carrier.arn,
            "user_pool": self.access and self.access.pool.id,
            "user_pool_arn": self.access and self.access.pool.arn,
            "user_pool_client": self.access and self.access.client.id,
            "trail": self.audit and self.audit.trail.arn,
            "vault": self.backup and self.backup.vault.arn,
            "cost_topic": self.cost and self.cost.topic.arn,
        }


def foundation(args: FoundationArgs) -> None:
    """The program: makes all of it, and exports what others need."""
    for name, value in Foundation(args).outputs.items():
        pulumi.export(name, value)
