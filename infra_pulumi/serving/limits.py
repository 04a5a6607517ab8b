"""What every serving place refuses, and how a refusal is written: where in the spec, what is wrong, what to do."""

import json
from collections.abc import Callable, Iterator, Mapping

from infra_pulumi.components.journal_metrics import is_watched
from infra_pulumi.serving.wanted import Alarm, Release, Rollout, Serving
from llmspec.errors import Problem
from llmspec.expressions import ALARM_METRICS

OPERATORS = {
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
}
DAY = 86_400


def refusal(wanted: Serving, where: str, fault: str, cure: str) -> Problem:
    """The spec's mapper knows the line; here the target is the place."""
    return Problem(f"target {wanted.owner.target}", 0, 0, where, fault, cure)


def common(wanted: Serving) -> Iterator[Problem]:
    """What holds wherever it is served."""
    scale, ground = wanted.scale, wanted.ground
    if scale.max < scale.min or scale.max < 1:
        yield refusal(wanted, "endpoint.scale", f"max {scale.max} is below min {scale.min} or 1", "raise max")
    if wanted.place.stands and scale.zones > len(ground.subnet_ids):
        fault = f"{scale.zones} zones, and the network has {len(ground.subnet_ids)}"
        yield refusal(wanted, "endpoint.scale.zones", fault, "lower zones, or give the foundation more")
    yield from _variants(wanted)
    yield from _rollout(wanted)
    for where, alarms in (("monitors.alarms", wanted.monitors.alarms), ("endpoint.rollout.rollback_on", wanted.rollout.alarms())):
        for alarm in alarms:
            yield from _alarm(wanted, where, alarm)
    if wanted.monitors.every % 60:
        yield refusal(
            wanted, "monitors.every", f"{wanted.monitors.every}s is no whole number of minutes", "CloudWatch counts minutes"
        )


def environment(wanted: Serving, told: Callable[[Release], Mapping[str, str]], most: int, place: str) -> Iterator[Problem]:
    """A release travels packed in what a container is told, and its system prompt is the part of it that grows."""
    for variant in wanted.sides().values():
        size = len(json.dumps(dict(told(variant.release)), separators=(",", ":")))
        if size > most:
            fault = f"release {variant.release.number} takes {size:,} bytes of its copies' environment, and {place} has {most:,}"
            yield refusal(wanted, "endpoint.system_prompt", fault, "write a shorter one, or serve from a place that has more: eks")


def _variants(wanted: Serving) -> Iterator[Problem]:
    weights = [variant.weight for variant in wanted.variants]
    if not weights:
        return
    if len(weights) < 2 or len(weights) > 10:
        yield refusal(wanted, "endpoint.variants", f"{len(weights)} variants", "an A/B test has 2 to 10")
    if any(weight != int(weight) or weight < 0 for weight in weights):
        yield refusal(wanted, "endpoint.variants", "a weight is no whole number", "write 90 and 10, not 0.9 and 0.1")
    if sum(weights) != 100:
        yield refusal(wanted, "endpoint.variants", f"the weights sum to {sum(weights)}", "they are per cent: make them sum to 100")
    numbers = [variant.release.number for variant in wanted.variants]
    if len(set(numbers)) < len(numbers):
        yield refusal(wanted, "endpoint.variants", "a release is there twice", "name each release once")
    if wanted.release.number not in numbers:
        cure = "the release that is deployed has to be one of them"
        yield refusal(wanted, "endpoint.variants", f"release {wanted.release.number} is none of them", cure)


def _rollout(wanted: Serving) -> Iterator[Problem]:
    rollout, where = wanted.rollout, "endpoint.rollout.steps"
    steps = list(rollout.steps)
    if not steps or steps[-1] != 100 or steps != sorted(set(steps)) or steps[0] < 1:
        yield refusal(wanted, where, f"{steps} does not grow to 100", "write rising per cent that end with 100")
    elif rollout.strategy == "canary" and len(steps) != 2:
        yield refusal(
            wanted, where, f"a canary on AWS has two steps, not {len(steps)}", f"write [{steps[0] % 100 or 10}, 100], or use linear"
        )
    elif rollout.strategy == "linear" and (rollout.even_step() is None or len(steps) < 2):
        yield refusal(wanted, where, f"{steps} are no even steps, and AWS has no others", "write [25, 50, 75, 100]")
    elif rollout.strategy == "all_at_once" and len(steps) != 1:
        yield refusal(wanted, where, "all_at_once has no steps", "leave them out, or choose canary or linear")
    yield from _rollback(wanted, rollout)


def _rollback(wanted: Serving, rollout: Rollout) -> Iterator[Problem]:
    if len(rollout.alarms()) > 10:
        yield refusal(wanted, "endpoint.rollout.rollback_on", f"{len(rollout.alarms())} alarms", "AWS watches at most 10")
    for alarm in rollout.rollback_on:
        if is_watched(alarm.metric):
            fault = f"{alarm}: {alarm.metric} is measured every {wanted.monitors.every}s, too late to turn a rollout back"
            yield refusal(wanted, "endpoint.rollout.rollback_on", fault, "put it under monitors.alarms")
    if not 0 <= rollout.wait <= 3600:
        yield refusal(wanted, "endpoint.rollout.wait", f"{rollout.wait}s", "AWS waits an hour at most between two steps")


def _alarm(wanted: Serving, where: str, alarm: Alarm) -> Iterator[Problem]:
    if alarm.metric not in ALARM_METRICS and not is_watched(alarm.metric):
        known = f"{', '.join(ALARM_METRICS)}, drift, canary.…"
        yield refusal(wanted, where, f"{alarm}: no metric named '{alarm.metric}' is measured here", f"known: {known}")
    if alarm.op not in OPERATORS:
        yield refusal(wanted, where, f"{alarm}: CloudWatch has no '{alarm.op}'", f"use one of {' '.join(OPERATORS)}")
    if alarm.lasting > DAY:
        yield refusal(wanted, where, f"{alarm}: longer than a day", "CloudWatch looks back one day at most")
