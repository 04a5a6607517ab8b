"""asked: a spec's words become the arguments of the two Pulumi programs. Nothing is asked of AWS here.

foundation_args   what a product stands on: store, keys, roles, images; network, Spark, audit, backup, budget where wanted
serving           what its endpoint is made of, for one release
"""

from collections.abc import Callable, Mapping
from typing import Any

from infra_pulumi.components.events import EventsArgs
from infra_pulumi.components.identity import IdentityArgs
from infra_pulumi.components.logs import LogsArgs
from infra_pulumi.foundation import FoundationArgs
from infra_pulumi.owner import Owner
from infra_pulumi.serving.wanted import Alarm, Monitors, Notify, Rollout, Scale, SecondRegion, Serving
from infra_pulumi.serving.wanted import Release as Served
from infra_pulumi.serving.wanted import Variant as Side
from llmspec import container, secrets
from llmspec.errors import PlaceError
from llmspec.expressions import Alarm as Written
from llmspec.infra import archive, governed
from llmspec.infra.ground import standing
from llmspec.infra.images import image, variant
from llmspec.infra.placed import grants, placed
from llmspec.release import Fleet, Release, Releases
from llmspec.shelf import S3
from llmspec.site import Site
from llmspec.spec import Spec
from llmspec.spec.traffic import Rollout as Way


def owner(spec: Spec, target: str) -> Owner:
    """Whose it is: the spec's own tags, and who answers for it."""
    assert spec.region, "what is in AWS has a region"
    answers = {"llmspec:owner": spec.owner} if spec.owner else {}
    return Owner(spec.name, target, spec.region, {**spec.tags, **answers})


def foundation_args(spec: Spec, target: str) -> FoundationArgs:
    """What is None is not made, and costs nothing."""
    return FoundationArgs(
        owner=owner(spec, target),
        storage=governed.storage(spec),
        logs=LogsArgs(journal_days=governed.journal_days(spec)),
        identity=IdentityArgs(
            governed.sources(spec), deploy=governed.deploy(spec, target), kinds=governed.kinds(spec), models=hosted(spec)
        ),
        network=governed.inside(spec),
        data=governed.spark(spec),
        cluster=governed.cluster(spec),
        audit=governed.audit(spec),
        backup=governed.backup(spec),
        cost=governed.cost(spec),
        access=governed.access(spec),
        events=EventsArgs() if "endpoint" in spec.in_aws else None,
    )


def hosted(spec: Spec) -> tuple[str, ...]:
    """The model that Bedrock serves, where the spec is a prompt for one."""
    return (spec.hosted.bedrock,) if spec.hosted else ()


def serving(
    site: Site,
    release: Release,
    ground: Mapping[str, Any],
    *,
    resolve: Callable[[str], str] = secrets.resolve,
    fleet: Fleet | None = None,
) -> Serving:
    """What the service stack is made from. `resolve` gives the value of `${secret.…}`, here, where it is used; `fleet` is what
    works now, as its place says."""
    spec, endpoint = site.spec, site.spec.endpoint
    if endpoint.access.keys == "cognito" and not ground.get("user_pool_arn"):
        raise PlaceError(
            f"the foundation of {spec.name} has no users yet, and without them everybody could ask"
            f"\n  build it: {site.apply_command}"
        )
    sides = [(chosen["weight"], _number(site, release, chosen["release"])) for chosen in release.variants]
    return Serving(
        owner=owner(spec, site.target),
        release=_served(spec, release, ground),
        place=placed(spec),
        ground=standing(ground),
        scale=Scale(**endpoint.scale.model_dump()) if endpoint.scale else Scale(),
        rollout=_rollout(spec),
        variants=tuple(Side(_served(spec, each, ground), weight) for weight, each in sides),
        monitors=_monitors(spec, resolve),
        log_days=governed.journal_days(spec),
        fleet=fleet,
    )


def _served(spec: Spec, release: Release, ground: Mapping[str, Any]) -> Served:
    """The artifact where it lies, the image that answers with it, and the rest of the release packed into its environment."""
    if not release.artifact.startswith(S3):
        raise PlaceError(
            f"release {release.number} lies at {release.artifact}, which AWS cannot reach\n  apply: it is sent to the store"
        )
    artifact = release.artifact.rstrip("/")
    return Served(
        release.number,
        artifact=f"{artifact}/",
        image=image(ground, "serving", variant(spec.place("endpoint"))),
        digest=release.content,
        archive=archive.address(release) if archive.wanted(spec) else "",
        environment={**container.packed(release.sharing([])), **grants(spec)},
        models=hosted(spec),
    )


def _number(site: Site, release: Release, number: int) -> Release:
    """A release by its number: the one that is being deployed, or one from the store."""
    if number == release.number:
        return release
    found = Releases(site.store.below(f"{site.name}/endpoint/{site.target}")).get(number)
    if found is None:
        raise PlaceError(
            f"there is no release {number} of {site.name} at {site.target}\n  see `llmspec history`, and endpoint.variants"
        )
    return found


def _rollout(spec: Spec) -> Rollout:
    """Alarms that turn it back are those of the monitors where the spec names none; a place that cannot turn back has none."""
    way = spec.endpoint.rollout or Way()
    alarms = way.rollback_on or spec.monitors.alarms
    watched = alarms if spec.place("endpoint").turns_back(spec.endpoint.rollout) else []
    return Rollout(way.strategy, tuple(way.steps), round(way.wait), tuple(map(_alarm, watched)))


def _monitors(spec: Spec, resolve: Callable[[str], str]) -> Monitors:
    said, notify = spec.monitors, spec.monitors.notify
    told = Notify(notify.email or "", resolve(notify.webhook) if notify.webhook else "") if notify else Notify()
    alarms = tuple(map(_alarm, said.alarms))
    return Monitors(round(said.every), alarms, told, "cloudwatch" in said.dashboards, _second(spec))


def _second(spec: Spec) -> SecondRegion | None:
    """Where the name goes while this region is unhealthy, where the place can move it."""
    place: Any = spec.place("endpoint")
    host = getattr(place, "failover", None)
    return SecondRegion(place.domain, place.zone, host) if host else None


def _alarm(written: Written) -> Alarm:
    bound = written.bound.evaluate(None)
    assert bound is not None, "an alarm is compared with a number"
    return Alarm(written.metric, written.op, bound, written.lasting)
