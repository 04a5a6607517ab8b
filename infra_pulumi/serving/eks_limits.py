"""What this cluster refuses, said before anything is created."""

from collections.abc import Iterator

from infra_pulumi.serving.ecs_limits import address_faults
from infra_pulumi.serving.eks import EksArgs
from infra_pulumi.serving.limits import refusal
from infra_pulumi.serving.wanted import Serving
from llmspec.errors import Problem

WHERE = "places.endpoint.eks"


def faults(wanted: Serving, place: EksArgs) -> Iterator[Problem]:
    """All of them."""
    scale, rollout = wanted.scale, wanted.rollout
    yield from address_faults(wanted, WHERE, place.public, place.certificate_arn, place.domain, place.zone_id)
    if not place.domain:
        yield refusal(wanted, f"{WHERE}.domain", "without a name nobody could ask", "write the domain that users ask")
    if place.instance.startswith("ml.") or place.instance.count(".") != 1:
        yield refusal(wanted, f"{WHERE}.instance", f"'{place.instance}' is no instance of EC2", "write one such as g5.xlarge")
    if rollout.strategy != "all_at_once" or rollout.rollback_on:
        cure = "leave rollout out: a copy is replaced only when its follower answers; or serve from ecs or sagemaker"
        yield refusal(wanted, "endpoint.rollout", "a Deployment knows neither traffic in steps nor alarms", cure)
    if scale.min < 1:
        yield refusal(
            wanted, "endpoint.scale.min", "nothing would start the first copy again", "write min: 1, or serve from lambda"
        )
    if scale.zones < 2:
        yield refusal(wanted, "endpoint.scale.zones", "a cluster stands in two zones or more", "write zones: 2")
    if scale.concurrency_per_copy and scale.max <= scale.min:
        yield refusal(wanted, "endpoint.scale.concurrency_per_copy", "nothing scales between equal min and max", "raise max")
    elif scale.concurrency_per_copy and not place.requests_metric:
        cure = "name requests_metric, or leave it out: copies then follow the processor"
        yield refusal(wanted, "endpoint.scale.concurrency_per_copy", "Kubernetes alone does not count requests", cure)
    if wanted.monitors.second_region:
        cure = "serve from ecs, or leave the second region out"
        yield refusal(wanted, "monitors.second_region", "the load balancer's name is known to Kubernetes only", cure)
    if any(variant.release.secrets for variant in wanted.sides().values()):
        cure = "let the container read them, or serve from ecs"
        yield refusal(wanted, "endpoint", "these manifests hold no secrets, and nothing in the cluster fetches them", cure)
