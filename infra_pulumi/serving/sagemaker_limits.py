"""What SageMaker refuses, said before anything is created."""

from collections.abc import Iterator

from infra_pulumi.serving.guardrails import LONGEST, longest_deployment
from infra_pulumi.serving.limits import environment, refusal
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.sagemaker_configuration import settings
from infra_pulumi.serving.wanted import Serving
from llmspec.errors import Problem

WHERE = "places.endpoint.sagemaker"
MOST_TOLD = 32 * 1024
"""Bytes of all of a model's variables together."""


def faults(wanted: Serving, place: SagemakerArgs) -> Iterator[Problem]:
    """All of them."""
    yield from _artifacts(wanted, place)
    yield from _serverless(wanted, place) if place.form == "serverless" else _instances(wanted, place)
    yield from environment(wanted, settings, MOST_TOLD, "a model")
    if not 0 <= place.capture_percent <= 100:
        yield refusal(wanted, f"{WHERE}.capture_percent", f"{place.capture_percent} per cent", "write 0 to 100")
    if wanted.monitors.second_region:
        cure = "a SageMaker endpoint has no domain of its own; serve from ecs, eks or lambda, or leave the second region out"
        yield refusal(wanted, "monitors.second_region", "no record can point at a SageMaker endpoint", cure)


def _artifacts(wanted: Serving, place: SagemakerArgs) -> Iterator[Problem]:
    for variant in wanted.sides().values():
        release = variant.release
        if release.secrets:
            cure = "let the container read them itself, or serve from ecs"
            yield refusal(wanted, "endpoint", f"SageMaker hands no secrets to a container ({', '.join(release.secrets)})", cure)
        if place.form == "serverless" and not release.archive:
            yield refusal(
                wanted, WHERE, f"release {release.number} has no model.tar.gz, and serverless takes no prefix", "pack one"
            )
        elif place.form != "serverless" and not release.artifact.endswith("/"):
            yield refusal(wanted, WHERE, f"{release.artifact} is no prefix", "it has to end with a slash")


def _serverless(wanted: Serving, place: SagemakerArgs) -> Iterator[Problem]:
    scale, rollout = wanted.scale, wanted.rollout
    if place.instance:
        yield refusal(
            wanted,
            f"{WHERE}.instance",
            f"serverless runs on no {place.instance}, and on no GPU",
            "write memory_mb, or another form",
        )
    if place.memory_mb not in range(1024, 6145, 1024):
        yield refusal(wanted, f"{WHERE}.memory_mb", f"{place.memory_mb} MB", "serverless has 1024 to 6144, in steps of 1024")
    if place.isolated:
        yield refusal(wanted, f"{WHERE}.isolated", "serverless isolates nothing", "leave it out, or use another form")
    if place.capture_percent:
        yield refusal(wanted, f"{WHERE}.capture_percent", "serverless captures nothing", "leave it out; the journal is kept")
    if wanted.variants:
        yield refusal(wanted, "endpoint.variants", "serverless serves one release", "use the realtime form")
    if rollout.strategy != "all_at_once" or rollout.rollback_on:
        yield refusal(wanted, "endpoint.rollout", "serverless has no guardrails", "use the realtime form, or leave rollout out")
    if scale.concurrency_per_copy not in (None, 1):
        yield refusal(
            wanted, "endpoint.scale.concurrency_per_copy", "a serverless copy answers one request at a time", "leave it out"
        )
    if scale.max > 200:
        yield refusal(wanted, "endpoint.scale.max", f"{scale.max} copies", "serverless has at most 200")


def _instances(wanted: Serving, place: SagemakerArgs) -> Iterator[Problem]:
    scale, rollout = wanted.scale, wanted.rollout
    if not place.instance.startswith("ml."):
        yield refusal(
            wanted, f"{WHERE}.instance", f"'{place.instance}' is no instance of SageMaker", "write one such as ml.g5.xlarge"
        )
    if place.memory_mb:
        yield refusal(wanted, f"{WHERE}.memory_mb", "an instance has the memory it has", "leave it out, or use the serverless form")
    if scale.min == 0 and place.form == "realtime":
        yield refusal(wanted, "endpoint.scale.min", "a real-time endpoint cannot go to 0", "use the async or the serverless form")
    if scale.concurrency_per_copy and scale.max <= scale.min and place.form == "realtime":
        yield refusal(wanted, "endpoint.scale.concurrency_per_copy", "nothing scales between equal min and max", "raise max")
    if place.form == "async" and wanted.variants:
        yield refusal(wanted, "endpoint.variants", "an asynchronous endpoint serves one release", "use the realtime form")
    if rollout.strategy == "canary" and rollout.steps[0] > 50:
        yield refusal(
            wanted, "endpoint.rollout.steps", f"a canary of {rollout.steps[0]} per cent", "SageMaker's canary is at most 50"
        )
    if rollout.strategy == "linear" and not 10 <= rollout.steps[0] <= 50:
        yield refusal(wanted, "endpoint.rollout.steps", f"steps of {rollout.steps[0]} per cent", "SageMaker's steps are 10 to 50")
    if longest_deployment(rollout) > LONGEST:
        yield refusal(
            wanted, "endpoint.rollout.wait", "the rollout would take more than four hours", "wait less, or take larger steps"
        )
