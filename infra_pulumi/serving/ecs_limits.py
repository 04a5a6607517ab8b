"""What ECS refuses, said before anything is created."""

from collections.abc import Iterator

from infra_pulumi.components.failover import balancer
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.ecs_task import settings
from infra_pulumi.serving.limits import environment, refusal
from infra_pulumi.serving.wanted import Serving
from llmspec.errors import Problem

WHERE = "places.endpoint.ecs"
MOST_TOLD = 60 * 1024
"""Bytes of a container's variables: a task's definition has 64 KiB, the rest of it included."""
FARGATE = {
    256: (512, 1024, 2048),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16_385, 1024),
    4096: range(8192, 30_721, 1024),
    8192: range(16_384, 61_441, 4096),
    16_384: range(32_768, 122_881, 8192),
}
"""Units of processor -> megabytes that go with them."""


def faults(wanted: Serving, place: EcsArgs) -> Iterator[Problem]:
    """All of them."""
    yield from _size(wanted, place)
    yield from address_faults(wanted, WHERE, place.public, place.certificate_arn, place.domain, place.zone_id)
    yield from _second_region(wanted)
    yield from environment(wanted, lambda release: settings(wanted, release), MOST_TOLD, "a task's definition")
    scale, rollout = wanted.scale, wanted.rollout
    if scale.zones < 2:
        yield refusal(wanted, "endpoint.scale.zones", "a load balancer stands in two zones or more", "write zones: 2")
    if scale.min < 1:
        yield refusal(
            wanted, "endpoint.scale.min", "nothing would start the first copy again", "write min: 1, or serve from lambda"
        )
    if scale.concurrency_per_copy and scale.max <= scale.min:
        yield refusal(wanted, "endpoint.scale.concurrency_per_copy", "nothing scales between equal min and max", "raise max")
    if rollout.strategy != "all_at_once" and wanted.variants:
        yield refusal(wanted, "endpoint.rollout", "variants and a rollout in steps would move the same weights", "use all_at_once")
    if rollout.strategy == "linear" and rollout.steps[0] < 3:
        yield refusal(wanted, "endpoint.rollout.steps", f"steps of {rollout.steps[0]} per cent", "ECS's steps are 3 or more")


def _second_region(wanted: Serving) -> Iterator[Problem]:
    second = wanted.monitors.second_region
    if second and not balancer(second.host):
        cure = "write the load balancer's own name there: bot-prod-1234567890.eu-west-1.elb.amazonaws.com"
        yield refusal(wanted, f"{WHERE}.failover", f"{second.host} is no load balancer of AWS", cure)


def _size(wanted: Serving, place: EcsArgs) -> Iterator[Problem]:
    if place.instance.startswith("ml."):
        yield refusal(wanted, f"{WHERE}.instance", f"{place.instance} is SageMaker's", f"write {place.instance[3:]}")
    if place.gpus and not place.instance:
        yield refusal(wanted, f"{WHERE}.gpus", "Fargate has no GPU", "name an instance, such as g5.xlarge")
    if not place.instance and place.memory_mb not in FARGATE.get(place.cpu, ()):
        known = FARGATE.get(place.cpu)
        cure = (
            f"with cpu {place.cpu} write {min(known)} to {max(known)}" if known else f"cpu is one of {', '.join(map(str, FARGATE))}"
        )
        yield refusal(wanted, f"{WHERE}.memory_mb", f"Fargate has no {place.cpu} units with {place.memory_mb} MB", cure)
    if not place.instance and not 21 <= place.disk_gb <= 200:
        yield refusal(wanted, f"{WHERE}.disk_gb", f"{place.disk_gb} GB", "Fargate has 21 to 200")


def address_faults(wanted: Serving, where: str, public: bool, certificate: str, domain: str, zone: str) -> Iterator[Problem]:
    """A door needs a certificate, and the internet's door a subnet that it can stand in."""
    if not certificate and not (domain and zone):
        yield refusal(wanted, where, "HTTPS without a certificate", "write certificate_arn, or domain and zone_id to have one made")
    if certificate and zone and not domain:
        yield refusal(wanted, f"{where}.zone_id", "a zone without a name in it", "write domain too")
    if public and len(wanted.ground.public_subnet_ids) < 2:
        yield refusal(
            wanted, f"{where}.public", "the network has no two public subnets", "give the foundation some, or leave public out"
        )
    if wanted.monitors.second_region and wanted.monitors.second_region.domain != domain:
        cure = "write the same domain at both: the certificate has to be for it"
        yield refusal(wanted, "monitors.second_region.domain", f"is not the endpoint's domain ('{domain}')", cure)
