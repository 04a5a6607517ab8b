"""A foundation of tests: small, or with everything on."""

import json
from typing import Any

from pulumi_parts import REGION, World, made_by

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

OWNER = Owner("bot", "prod", REGION, {"cost-center": "cx-42"})
STORE = StorageArgs("acme-llm", "models")
GITHUB = DeployArgs("acme/bot", "prod", 1234, 5678, places=("sagemaker", "emr", "ecs", "lambda"), state="s3://acme-state/llm")
FULL: dict[str, Any] = {
    "storage": StorageArgs("acme-llm", "models", {"data": 365, "journal": 30}, replicate_to="eu-west-1"),
    "identity": IdentityArgs(("s3://acme-support/tickets/*.jsonl",), ("arn:aws:kms:eu-central-1:1:key/support",), GITHUB),
    "network": NetworkArgs(public_subnets=True, nat_gateways=1),
    "data": DataArgs(),
    "cluster": ClusterArgs(),
    "audit": AuditArgs(),
    "backup": BackupArgs(copy_to="eu-west-1", lock=True),
    "cost": CostArgs(500, notify=("oncall@acme.example",), activate_tags=True),
    "access": AccessArgs("acme-bot", ("https://bot.acme.example/",)),
    "events": EventsArgs(),
}


def small(**parts: Any) -> World:
    """A store, keys, logs, roles and images, and what is named."""
    return made_by(lambda: foundation(FoundationArgs(**{"owner": OWNER, "storage": STORE, **parts})))


def full(**parts: Any) -> World:
    return small(**{**FULL, **parts})


def allowed(world: World, role: str) -> list[dict[str, Any]]:
    """What a role may do."""
    (document,) = world.one("iam/rolePolicy:RolePolicy", role).documents()
    statements = document["Statement"]
    assert isinstance(statements, list)
    return statements


def trusted(world: World, role: str) -> list[dict[str, Any]]:
    """Who takes a role on."""
    statements = json.loads(world.one("iam/role:Role", role).inputs["assumeRolePolicy"])["Statement"]
    assert isinstance(statements, list)
    return statements


def reach(statements: list[dict[str, Any]], action: str) -> set[str]:
    return {resource for each in statements if action in each["Action"] for resource in each["Resource"]}


def lifecycle(world: World, name: str) -> dict[str, int]:
    rules = world.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", name).inputs["rules"]
    return {rule["filter"]["prefix"]: rule["expiration"]["days"] for rule in rules if "days" in rule.get("expiration", {})}
