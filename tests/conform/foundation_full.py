"""A foundation with everything on, for a check against the real provider's schema and an emulated AWS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra_pulumi.components.access import AccessArgs
from infra_pulumi.components.audit import AuditArgs
from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.cluster import ClusterArgs
from infra_pulumi.components.cost import CostArgs
from infra_pulumi.components.data import DataArgs
from infra_pulumi.components.deploy import DeployArgs
from infra_pulumi.components.events import EventsArgs
from infra_pulumi.components.identity import IdentityArgs
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.components.storage import StorageArgs
from infra_pulumi.foundation import FoundationArgs, foundation
from infra_pulumi.owner import Owner

FULL = FoundationArgs(
    owner=Owner("support-bot", "prod", "us-east-1", {"cost-center": "cx-42"}),
    storage=StorageArgs("acme-llm", "models", {"data": 365, "journal": 30}, replicate_to="us-west-2", keep=False),
    identity=IdentityArgs(
        sources=("s3://acme-support/tickets/*.jsonl",),
        deploy=DeployArgs(
            "acme/support-bot", "prod", 1234, 5678, places=("sagemaker", "emr", "ecs", "lambda"), state="s3://acme-state/llm"
        ),
    ),
    network=NetworkArgs(zones=2, public_subnets=True, nat_gateways=1),
    data=DataArgs("emr-7.14.0"),
    cluster=ClusterArgs(),
    audit=AuditArgs(keep=False),
    backup=BackupArgs(copy_to="us-west-2"),
    cost=CostArgs(500, notify=("oncall@acme.example",), activate_tags=True),
    access=AccessArgs("acme-support-bot", ("https://support.acme.example/",)),
    events=EventsArgs(),
)

if __name__ == "__main__":
    foundation(FULL)
