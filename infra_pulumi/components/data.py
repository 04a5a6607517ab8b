"""data: Spark without machines of ours, for rows that no machine of ours holds, and the catalogue of what it wrote."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.network import Network
from infra_pulumi.components.storage import Storage
from infra_pulumi.owner import Owner


def database_name(owner: Owner) -> str:
    """`support_bot_prod`: SQL takes no dashes."""
    return owner.prefix.replace("-", "_")


@dataclass(frozen=True)
class DataArgs:
    """`places.data: emr`."""

    release_label: str = "emr-spark-8.1.0"
    """EMR's release: this one is Spark 4.1, like the embedded engine's."""
    max_vcpu: int = 64
    """Together, over all runs at once: the most that Spark can cost in an hour."""
    max_memory_gb: int = 256
    max_disk_gb: int = 1000
    idle_minutes: int = 15
    """Then it stops, and costs nothing."""


class Data(pulumi.ComponentResource):
    """It holds no worker ready: the first minute of a run waits, and a month without runs is free."""

    def __init__(
        self,
        owner: Owner,
        args: DataArgs,
        storage: Storage,
        network: Network | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Data", "data", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        inside = {"subnet_ids": [each.id for each in network.private], "security_group_ids": [network.work.id]} if network else {}
        self.application = aws.emrserverless.Application(
            "spark",
            name=f"{owner.prefix}-spark",
            release_label=args.release_label,
            type="SPARK",
            maximum_capacity={
                "cpu": f"{args.max_vcpu} vCPU",
                "memory": f"{args.max_memory_gb} GB",
                "disk": f"{args.max_disk_gb} GB",
            },
            auto_start_configuration={"enabled": True},
            auto_stop_configuration={"enabled": True, "idle_timeout_minutes": args.idle_minutes},
            network_configuration=aws.emrserverless.ApplicationNetworkConfigurationArgs(**inside) if network else None,
            tags=owner.tagged("data"),
            opts=mine,
        )
        self.database = aws.glue.CatalogDatabase(
            "rows",
            name=database_name(owner),
            description=f"What the data stage of {owner.name} wrote",
            location_uri=pulumi.Output.concat("s3://", storage.store.name, f"/{storage.product}data/"),
            tags=owner.tagged("data"),
            opts=mine,
        )
        self.register_outputs({"application": self.application.id, "database": self.database.name})
