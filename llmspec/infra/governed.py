"""governed: what store, governance and places of a spec ask of the foundation, part by part. None: that part is not asked for."""

from math import ceil
from typing import Any

from infra_pulumi.components.access import AccessArgs
from infra_pulumi.components.audit import AuditArgs
from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.cluster import ClusterArgs
from infra_pulumi.components.cost import CostArgs
from infra_pulumi.components.data import DataArgs
from infra_pulumi.components.deploy import DeployArgs
from infra_pulumi.components.logs import STEPS
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.components.storage import StorageArgs
from llmspec import network
from llmspec.infra.state import state_of
from llmspec.job import ROLES
from llmspec.machines import has_local_disk
from llmspec.registry import name_of
from llmspec.shelf import S3
from llmspec.spec import Spec
from llmspec.spec.governance import Governance

GB = 10**9
DAY = 86_400
HOUR = 3600
WORKER_DISK_GB = 20
"""What EMR gives a worker that asks for no more."""


def rules(spec: Spec) -> Governance:
    return spec.governance or Governance()


def storage(spec: Spec) -> StorageArgs:
    bucket, _, prefix = spec.store.removeprefix(S3).partition("/")
    kept = {"data": rules(spec).retention.data, "journal": rules(spec).retention.journal}
    days = {name: round(seconds / DAY) for name, seconds in kept.items() if seconds is not None}
    return StorageArgs(bucket, prefix, days, replicate_to=rules(spec).replicate_to)


def journal_days(spec: Spec) -> int:
    """Containers print their journal into a log group. Of the days that CloudWatch knows, the most that keep the spec's word."""
    kept = [spec.endpoint.journal.keep, rules(spec).retention.journal or spec.endpoint.journal.keep]
    return max(step for step in STEPS if step <= min(kept) / DAY)


def kinds(spec: Spec) -> tuple[str, ...]:
    """The roles in use. Lambda and EKS bring roles of their own; images are built for whatever there is."""
    inside = spec.in_aws
    used = {ROLES[stage] for stage in inside if stage != "endpoint"}
    own = "endpoint" in inside and name_of(type(inside["endpoint"])) in ("sagemaker", "ecs")
    return (*sorted(used), *(("endpoint",) if own else ()), "build")


def sources(spec: Spec) -> tuple[str, ...]:
    """Rows that lie in S3 outside the store."""
    return tuple(source.path for source in spec.data.sources if source.path.startswith(S3))


def inside(spec: Spec) -> NetworkArgs | None:
    """A network where something stands in one: a door for each service that is asked from there, and ways out if asked for."""
    if not network.stands(spec):
        return None
    public = bool(getattr(spec.place("endpoint"), "public", False))
    return NetworkArgs(
        zones=network.zones(spec), services=network.doors(spec), public_subnets=public, nat_gateways=network.gateways(spec)
    )


def cluster(spec: Spec) -> ClusterArgs | None:
    """For jobs at ECS. Without a task it is a name and costs nothing; the endpoint's own cluster comes with its service."""
    jobs = (name_of(type(place)) == "ecs" for stage, place in spec.places.items() if stage != "endpoint")
    return ClusterArgs() if any(jobs) else None


def access(spec: Spec) -> AccessArgs | None:
    """People, where they sign in before they ask; the language lets them only where a door can be told."""
    return AccessArgs() if spec.endpoint.access.keys == "cognito" else None


def spark(spec: Spec) -> DataArgs | None:
    """As many workers as `max_vcpu` has room for, each of the size that the job asks for."""
    place = spec.place("data")
    if name_of(type(place)) != "emr":
        return None
    asked: Any = place  # the card of a place is the place's own affair: its options are known by name
    most = asked.max_vcpu / asked.cpu
    return DataArgs(asked.release, asked.max_vcpu, ceil(most * asked.memory / GB), ceil(most * WORKER_DISK_GB))


def audit(spec: Spec) -> AuditArgs | None:
    asked = rules(spec).audit
    if not asked:
        return None
    keyless = has_local_disk(getattr(spec.place("endpoint"), "instance", None) or "")
    return AuditArgs(config=asked.config, security_hub=asked.security_hub, inspector=asked.inspector, keyless=keyless)


def backup(spec: Spec) -> BackupArgs | None:
    asked = rules(spec).backup
    return BackupArgs(round(asked.every / HOUR), round(asked.keep / DAY), asked.copy_to) if asked else None


def cost(spec: Spec) -> CostArgs | None:
    asked = rules(spec).budget
    return CostArgs(asked.dollars, asked.warn_at, spec.addresses, activate_tags=bool(asked.activate_tags)) if asked else None


def deploy(spec: Spec, target: str) -> DeployArgs | None:
    """GitHub's roles, for the places of this target and no other."""
    asked = rules(spec).deploy
    if asked is None:
        return None
    places = tuple(dict.fromkeys(name_of(type(place)) for place in spec.in_aws.values()))
    zone: str | None = getattr(spec.place("endpoint"), "zone", None)
    known = (asked.github, asked.environment or target, asked.owner_id, asked.repository_id, asked.provider)
    state = state_of(spec).url.partition("?")[0]
    return DeployArgs(*known, places=places, state=state if state.startswith(S3) else None, zones=(zone,) if zone else ())
