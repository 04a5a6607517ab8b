"""Options that would be accepted and ignored: what only some places make real is an error where they do not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from llmspec import registry
from llmspec.registry import Card, Place, name_of
from llmspec.section import Section, wrong
from llmspec.spec import hosted

if TYPE_CHECKING:
    from llmspec.spec.spec import Spec

_TRAFFIC = {
    "scale": "serves one copy",
    "rollout": "swaps releases without a pause, all at once",
    "variants": "serves one release",
}
"""What an endpoint does that has no say in it."""


def without(spec: "Spec") -> Iterator[PydanticCustomError]:
    """What has no effect at the places of this spec, one after the other."""
    yield from hosted.without(spec)
    yield from _of_places(spec)
    yield from _of_traffic(spec)
    yield from _of_monitoring(spec)
    yield from _of_clouds(spec)
    yield from _of_region(spec)


def _of_places(spec: "Spec") -> Iterator[PydanticCustomError]:
    """Options of a place for another kind of stage, engines it lacks, and what it says itself."""
    for stage, place in spec.places.items():
        name = name_of(type(place))
        idle = place.for_jobs if stage == "endpoint" else place.for_endpoint
        for option in [name for name in place.said if name in idle]:
            instead = "a job" if stage == "endpoint" else "the endpoint"
            fault = f"{option} has no effect on {'the endpoint' if stage == 'endpoint' else stage}: it is for {instead}"
            yield wrong(fault, "take it out", f"places.{stage}.{name}.{option}")
        if stage != "endpoint" and place.engines:
            engine: Card = spec.section(stage).engine  # type: ignore[attr-defined]
            if (called := name_of(type(engine))) not in place.engines:
                cure = f"write `{stage}: {{engine: {place.engines[0]}}}` for this target, or choose another place"
                yield wrong(f"{name} has no engine '{called}'", cure, f"places.{stage}")
        if error := place.misfit(stage, spec):
            yield error


def _of_traffic(spec: "Spec") -> Iterator[PydanticCustomError]:
    for key, instead in _TRAFFIC.items():
        value = getattr(spec.endpoint, key)
        if value is None:
            continue
        place = spec.place("endpoint")
        if key in place.honours:
            continue
        if not any(each.startswith(f"{key}.") for each in place.honours):
            fault = f"{name_of(type(place))} {instead}: {key} would have no effect"
            yield wrong(fault, _elsewhere(key), f"endpoint.{key}")
            continue
        for part in value.said if isinstance(value, Section) else ():
            if f"{key}.{part}" not in place.honours:
                fault = f"{key}.{part} would have no effect at {name_of(type(place))}"
                yield wrong(fault, f"take it out; {_elsewhere(key + '.' + part)}", f"endpoint.{key}.{part}")


def _elsewhere(key: str) -> str:
    """Which places make it real, with their defaults."""
    top = key.partition(".")[0]
    able = [name for name, place in registry.places() if place.serves and _honours(place(), key, top)]
    listed = " or ".join([", ".join(able[:-1]), *able[-1:]] if len(able) > 1 else able)
    return f"write it under a target whose endpoint is at {listed}" if able else "no place that is installed does it"


def _honours(place: Place, key: str, top: str) -> bool:
    return any(each in (key, top) or (key == top and each.startswith(f"{top}.")) for each in place.honours)


def _of_monitoring(spec: "Spec") -> Iterator[PydanticCustomError]:
    if "endpoint" in spec.places and spec.places["endpoint"].cloud:
        yield from _of_alarms(spec)
        return
    cure = "write it under a target whose endpoint is in AWS, or take it out"
    if spec.monitors.notify is not None:
        yield wrong("nothing rings a local alarm: `llmspec status` and Dagster show it", cure, "monitors.notify")
    if spec.monitors.dashboards:
        yield wrong("a local endpoint has no dashboard: its /metrics is for Prometheus", cure, "monitors.dashboards")


def _of_alarms(spec: "Spec") -> Iterator[PydanticCustomError]:
    """What CloudWatch cannot watch for."""
    rollout = spec.endpoint.rollout
    listed = {"monitors.alarms": spec.monitors.alarms, "endpoint.rollout.rollback_on": rollout.rollback_on if rollout else []}
    for path, alarms in listed.items():
        for number, alarm in enumerate(alarms):
            if alarm.op in ("==", "!="):
                yield wrong(f"CloudWatch has no '{alarm.op}'", "use >, >=, < or <=", f"{path}[{number}]", alarm.op)
            if alarm.lasting > 86400:
                yield wrong("CloudWatch looks back one day at most", "write `for 1d` or less", f"{path}[{number}]")
    if spec.monitors.every % 60:
        yield wrong("CloudWatch counts whole minutes", "write `15m`", "monitors.every")


def _of_clouds(spec: "Spec") -> Iterator[PydanticCustomError]:
    """Keys about AWS, where nothing is in AWS."""
    if any(place.cloud for place in spec.places.values()):
        return
    cure = "write it under the target that is in AWS, or take it out"
    if spec.region is not None and not spec.hosted:
        yield wrong("region would have no effect: every stage is done here", cure, "region")
    if spec.governance is not None:
        yield wrong("governance would have no effect: it is for what is in AWS, and every stage is done here", cure, "governance")


def _of_region(spec: "Spec") -> Iterator[PydanticCustomError]:
    inside = [stage for stage, place in spec.places.items() if place.cloud == "aws"]
    if inside and spec.region is None:
        name = name_of(type(spec.places[inside[0]]))
        yield wrong(f"{name} needs a region", "add `region: …` beside places: `region: eu-central-1`", f"places.{inside[0]}")
    rules = spec.governance
    copies = {"replicate_to": rules.replicate_to, "backup.copy_to": rules.backup.copy_to if rules.backup else None} if rules else {}
    for path, region in copies.items():
        if region is not None and region == spec.region:
            yield wrong(f"a copy in {region} is lost with {region}", "name another region", f"governance.{path}")
