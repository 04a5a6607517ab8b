"""identity: one role for each kind of job, none of which can do another's work, and one for GitHub to deploy with."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.boundary import boundary
from infra_pulumi.components.data import database_name
from infra_pulumi.components.deploy import DeployArgs, Deployer, Ground
from infra_pulumi.components.duties import (
    DUTIES,
    PULL,
    PUSH,
    from_sources,
    in_the_network,
    in_the_store,
    into_logs,
    with_images,
    with_keys,
    with_secrets,
    with_tables,
)
from infra_pulumi.components.events import CARRIER
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.network import Network
from infra_pulumi.components.registry import repository_names
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.components.storage import StorageArgs
from infra_pulumi.hosted import asking
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document


@dataclass(frozen=True)
class IdentityArgs:
    """Who may do what."""

    sources: tuple[str, ...] = ()
    """`s3://bucket/folder` of each data source outside the store."""
    source_keys: tuple[str, ...] = ()
    """ARNs of the KMS keys that encrypt those sources, where they are not ours."""
    deploy: DeployArgs | None = None
    """GitHub deploys. None: people do."""
    kinds: tuple[str, ...] = tuple(DUTIES)
    """Which kinds of job are done in AWS: what nobody does has no role."""
    models: tuple[str, ...] = ()
    """Models that Bedrock serves and the endpoint asks, by the ids or ARNs that specs give them."""

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in DUTIES]:
            raise ValueError(f"kinds: no duty named {', '.join(unknown)} (known: {', '.join(DUTIES)})")
        if wrong := [source for source in self.sources if not source.startswith("s3://")]:
            raise ValueError(f"sources: {', '.join(wrong)} does not begin with s3://")


class Identity(pulumi.ComponentResource):
    """Roles, the boundary that none of them crosses, and the door for GitHub."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: IdentityArgs,
        storage: StorageArgs,
        keys: Keys,
        network: Network | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Identity", "identity", None, opts)
        self._owner, self._account, self._args, self._keys, self._network = owner, account, args, keys, network
        self._bucket, self._product = storage.bucket, storage.product(owner)
        self.boundary = self._ceiling()
        self.roles = {kind: self._role(kind) for kind in args.kinds}
        self.deployer = self._deployer(args.deploy) if args.deploy else None
        self.register_outputs({kind: role.arn for kind, role in self.roles.items()})

    def _role(self, kind: str) -> Role:
        wanted = RoleArgs(
            stage=kind,
            services=DUTIES[kind].services,
            trusts=_pods(self._account) if kind == "endpoint" else (),
            allows=(*self._everyday(kind), *self._special(kind)),
            boundary=self.boundary.arn,
        )
        return Role(self._owner, self._account, kind, wanted, pulumi.ResourceOptions(parent=self))

    def _everyday(self, kind: str) -> tuple[Statement, ...]:
        """What every job does: its folders, its log, its image, its network card."""
        duty = DUTIES[kind]
        images = repository_names(self._owner)
        pulls = tuple(images.values()) if kind == "build" else (images["serving" if kind == "endpoint" else "training"],)
        return (
            *in_the_store(duty, self._bucket, self._product, self._account),
            *with_keys(duty, self._keys.data.arn),
            *into_logs(kind, self._owner, self._account),
            *with_secrets(kind, self._owner, self._account),
            *with_images(PUSH if kind == "build" else PULL, pulls, self._account),
            *(self._inside(self._network) if self._network and "sagemaker" in duty.services else ()),
        )

    def _special(self, kind: str) -> tuple[Statement, ...]:
        """What only this kind does."""
        if kind == "data":
            keys = self._args.source_keys
            unlocked = (Statement(("kms:Decrypt",), keys),) if keys else ()
            rows = from_sources(self._args.sources, self._account)
            return (*rows, *unlocked, with_tables(database_name(self._owner), self._account))
        if kind == "endpoint":
            return asking(self._args.models, self._account)
        return ()

    def _inside(self, network: Network) -> tuple[Statement, ...]:
        return in_the_network(tuple(subnet.id for subnet in network.private), network.work.id, self._account)

    def _ceiling(self) -> aws.iam.Policy:
        args = self._args
        ceiling = boundary(self._owner, self._account, self._bucket, self._product, args.sources, args.source_keys, args.models)
        return aws.iam.Policy(
            "boundary",
            name=f"{self._owner.prefix}-boundary",
            description=f"No job and no endpoint of {self._owner.prefix} does more than this",
            policy=document(*ceiling),
            tags=self._owner.tagged("identity"),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _deployer(self, args: DeployArgs) -> Deployer:
        carrier = self._account.arn("iam", f"role/{self._owner.prefix}-{CARRIER}", region="")  # it is made after this one
        roles = (*(role.arn for role in self.roles.values()), carrier)
        ground = Ground(self._bucket, self._product, self._keys.data.arn, self.boundary.arn, roles)
        return Deployer(self._owner, self._account, args, ground, pulumi.ResourceOptions(parent=self))


def _pods(account: Account) -> tuple[Statement, ...]:
    """A pod on EKS takes the endpoint's role on, by pod identity."""
    service = {"Service": "pods.eks.amazonaws.com"}
    return (Statement(("sts:AssumeRole", "sts:TagSession"), principals=service, conditions=account.here()),)
