"""Options that would be accepted and ignored: what only some places make real is an error where they do not."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from llmspec import registry
from llmspec.card import Card, Place
from llmspec.registry import name_of
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
    yield from _of_network(spec)
    yield from _of_store(spec)
    yield from _of_doors(spec)
    yield from _of_access(spec)


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


MOST_WATCHED = 10
"""Alarms that one rollout in AWS can watch."""


def _of_alarms(spec: "Spec") -> Iterator[PydanticCustomError]:
    """What CloudWatch cannot watch for."""
    rollout = spec.endpoint.rollout
    stands_in = spec.places["endpoint"].turns_back(rollout) and not (rollout and rollout.rollback_on)
    if stands_in and (count := len(spec.monitors.alarms)) > MOST_WATCHED:
        fault = f"{count} alarms, which turn a rollout back too, and AWS watches {MOST_WATCHED}"
        yield wrong(fault, "name those that do: `endpoint: {rollout: {rollback_on: […]}}`", "monitors.alarms")
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
    if spec.in_a_cloud:
        return
    cure = "write it under the target that is in AWS, or take it out"
    if spec.region is not None and not spec.hosted:
        yield wrong("region would have no effect: every stage is done here", cure, "region")
    if spec.governance is not None:
        yield wrong("governance would have no effect: it is for what is in AWS, and every stage is done here", cure, "governance")


def _of_region(spec: "Spec") -> Iterator[PydanticCustomError]:
    stage, place = next(iter(spec.in_aws.items()), ("", None))
    if place and spec.region is None:
        name = name_of(type(place))
        fault, cure = f"{name} needs a region", "add `region: …` beside places: `region: eu-central-1`"
        if "://" not in spec.store and not store_said(spec):  # one is told with the other: they are written at one place
            fault, cure = f"{fault} and a store in S3", f"{cure}, and `store: s3://bucket/prefix`"
        yield wrong(fault, cure, f"places.{stage}")
    rules = spec.governance
    copies = {"replicate_to": rules.replicate_to, "backup.copy_to": rules.backup.copy_to if rules.backup else None} if rules else {}
    for path, region in copies.items():
        if region is not None and region == spec.region:
            yield wrong(f"a copy in {region} is lost with {region}", "name another region", f"governance.{path}")


def _of_network(spec: "Spec") -> Iterator[PydanticCustomError]:
    """Ways out of a network that there is not, or of zones that it does not have."""
    from llmspec import network  # which reads specs

    if not (gateways := network.gateways(spec)):
        return
    if not network.stands(spec):
        yield wrong("nothing of this target stands in a network", "take it out", "governance.nat_gateways")
    elif gateways > (zones := network.zones(spec)):
        yield wrong(f"the network has {zones} zones", f"write {zones}, which is one a zone", "governance.nat_gateways")


BUCKET = r"[a-z0-9][a-z0-9-]{1,46}[a-z0-9]"
"""Shorter than S3 takes, because the buckets of logs, trails and copies are named after it; without dots, because of TLS."""
MOST_TAGS = 40
"""AWS takes 50 of a resource, and some are llmspec's."""


def store_said(spec: "Spec") -> bool:
    """Whether somebody wrote where the store is."""
    return "store" in spec.model_fields_set


def _of_store(spec: "Spec") -> Iterator[PydanticCustomError]:
    """What works in AWS reaches a bucket, and no folder of somebody's machine."""
    stage, place = next(iter(spec.in_aws.items()), ("", None))
    if place is None:
        return
    at = "store" if store_said(spec) else f"places.{stage}"
    if "://" not in spec.store:
        name = name_of(type(place))
        yield wrong(
            f"{name} cannot reach a store in a folder", "write `store: s3://bucket/prefix`, with a bucket's name of your own", at
        )
        return
    bucket, _, prefix = spec.store.removeprefix("s3://").partition("/")
    if not re.fullmatch(BUCKET, bucket):
        fault = f"{bucket!r} leaves no room: buckets for logs, trails and copies are named after it"
        yield wrong(fault, "3 to 48 small letters, digits and '-'", at)
    if "*" in prefix:
        yield wrong("'*' in a prefix is everything to a policy", "letters, digits, '-', '_' and '.' between single '/'", at)
    if len(spec.tags) > MOST_TAGS:
        yield wrong(f"{len(spec.tags)} tags are more than AWS has room for", f"keep {MOST_TAGS}", "tags")


WIDEST = 8
"""Bits of the widest range that may ask where nobody is asked for a key: a private network's."""


def _of_doors(spec: "Spec") -> Iterator[PydanticCustomError]:
    """Who may ask an endpoint in AWS is the platform's to decide, and so is HTTPS: a container has no keys and no certificate."""
    place = spec.places.get("endpoint")
    if place is None or place.cloud != "aws":
        return
    name = name_of(type(place))
    if spec.endpoint.tls is not None:
        cure = "write it under the target that is local: `endpoint: {tls: …}`"
        yield wrong(f"{name} makes HTTPS itself, and the container would look for this certificate in vain", cure, "endpoint.tls")
    for number, network in enumerate(getattr(place, "open_to", ())):
        if int(network.rpartition("/")[2]) < WIDEST:
            at = f"places.endpoint.{name}.open_to[{number}]"
            yield wrong("this lets in half the world, and nobody is asked for a key", "name the networks that may ask", at)


def _of_access(spec: "Spec") -> Iterator[PydanticCustomError]:
    """Keys are where llmspec serves; people sign in where a place has a door for them, and are all alike to the container."""
    access = spec.endpoint.access
    if not access.said:
        return
    place = spec.place("endpoint")
    name = name_of(type(place))
    if access.keys == "cognito":
        if not place.signs_in:
            able = " or ".join(known for known, each in registry.places() if each.signs_in)
            cure = f"write it under a target whose endpoint is at {able}, or use `file`"
            yield wrong(f"nobody can sign in at {name}", cure, "endpoint.access.keys", access.keys)
        elif "roles" in access.said:
            fault = f"roles would have no effect at {name}: whoever signed in may use it, and no more"
            yield wrong(fault, "take them out", "endpoint.access.roles")
    elif place.cloud == "aws":
        cure = "take it out, or write it under the target that is local"
        cure += "; `keys: cognito` has people sign in" if place.signs_in else ""
        yield wrong(f"keys and their roles have no effect at {name}, which decides itself who may ask", cure, "endpoint.access")
