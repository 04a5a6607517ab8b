"""What Lambda and API Gateway refuse, said before anything is created."""

from collections.abc import Iterator

from infra_pulumi.serving.lambda_ import LambdaArgs, told
from infra_pulumi.serving.limits import environment, refusal
from infra_pulumi.serving.wanted import Serving
from llmspec.errors import Problem

WHERE = "places.endpoint.lambda"
MOST_TOLD = 4096
"""Bytes of all of a function's variables together, as JSON."""


def faults(wanted: Serving, place: LambdaArgs) -> Iterator[Problem]:
    """All of them."""
    for name, value, low, high in (
        ("memory_mb", place.memory_mb, 128, 10_240),
        ("timeout_seconds", place.timeout_seconds, 1, 900),
        ("disk_mb", place.disk_mb, 512, 10_240),
    ):
        if not low <= value <= high:
            yield refusal(wanted, f"{WHERE}.{name}", f"{value}", f"Lambda has {low} to {high}")
    if place.architecture not in ("x86_64", "arm64"):
        yield refusal(wanted, f"{WHERE}.architecture", f"'{place.architecture}'", "write x86_64 or arm64")
    if not place.plans:
        yield refusal(wanted, f"{WHERE}.plans", "nobody could ask: each request needs a plan's key", "name a plan")
    yield from _traffic(wanted)
    yield from environment(wanted, told, MOST_TOLD, "a function")


def _traffic(wanted: Serving) -> Iterator[Problem]:
    scale, rollout = wanted.scale, wanted.rollout
    if wanted.release.secrets:
        yield refusal(
            wanted, "endpoint", "Lambda hands no secrets to a container", "let the container read them, or serve from ecs"
        )
    if wanted.variants:
        cure = "serve from sagemaker, ecs or eks"
        yield refusal(wanted, "endpoint.variants", "an alias of Lambda shares traffic between versions of one image only", cure)
    if scale.concurrency_per_copy not in (None, 1):
        yield refusal(
            wanted, "endpoint.scale.concurrency_per_copy", "a copy on Lambda answers one request at a time", "leave it out"
        )
    if rollout.strategy == "all_at_once" and rollout.rollback_on:
        cure = "choose canary or linear"
        yield refusal(
            wanted, "endpoint.rollout.rollback_on", "all_at_once is over in an instant, and nothing would be watched", cure
        )
    if rollout.strategy != "all_at_once" and rollout.wait < 60:
        yield refusal(wanted, "endpoint.rollout.wait", f"{rollout.wait}s", "CodeDeploy counts minutes: wait 1m or more")
    if wanted.monitors.second_region:
        cure = "an API answers to its own name only; serve from ecs, or leave the second region out"
        yield refusal(wanted, "monitors.second_region", "no record can point at this API", cure)
