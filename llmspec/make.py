"""Make a stage's artifact, or find that it is made: the same whether apply, the UI or a schedule asks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from llmspec import checks, copies, exposure
from llmspec.audit import Trail
from llmspec.errors import BlockedError, CallError, DamagedError, PlaceError
from llmspec.git import commit
from llmspec.home import access_folder
from llmspec.journal_stats import horizon
from llmspec.lock import user
from llmspec.progress import publish
from llmspec.registry import Place, name_of
from llmspec.release import Live, Release
from llmspec.section import KEPT
from llmspec.stage import NotReadyError, Product, Stage
from llmspec.store import Artifact

FORCE = "llmspec/force"
"""Tag of a run: make it again although it is there."""


@dataclass(frozen=True)
class Made:
    """What came of a stage."""

    artifact: Artifact
    reused: bool


@dataclass(frozen=True)
class Deployed:
    """What came of `endpoint`."""

    release: Release
    live: Live
    changed: bool


def make(stage: Stage, place: Place, context: Any, *, force: bool = False) -> Made:
    """Reuse the artifact when its bytes are right, else have the place run the job."""
    product = stage.product
    with product.lock(wait=3600, waiting=lambda who: publish(stage.name, "note", text=f"waiting for {who}")):
        publish(stage.name, "started")
        started = time.monotonic()
        require(stage)
        job = stage.job
        found = None if force else sound(product, product.store.find(product.name, stage.name, job.key))
        if found is None:
            product.store.writable(product.name)
            if not force and (made := copies.unsent(job)):
                copies.send(made, product.store.at(product.name, stage.name, job.key))
            else:
                place.run(context, job)
        artifact = found or product.store.find(product.name, stage.name, job.key)
        if artifact is None:
            raise PlaceError(f"{stage.name}: the job ended without an artifact at {job.output}")
        product.store.move_head(product.name, product.target, stage.name, job.key)
        publish(
            stage.name,
            "done",
            reused=found is not None,
            seconds=time.monotonic() - started,
            summary=artifact.manifest.summary,
            short=[verdict.reason for verdict in stage.verdicts(artifact) if not verdict.passed],
        )
    return Made(artifact, found is not None)


@contextmanager
def expected(product: Product, stages: Sequence[str]) -> Iterator[None]:
    """For as long as the block lasts, the places of these stages know what jobs are to come."""
    waiting: dict[str, list[Stage]] = {}
    for stage in (product.stage(name) for name in stages if name in KEPT):
        waiting.setdefault(name_of(type(stage.place)), []).append(stage)
    with ExitStack() as open_places:
        for there in waiting.values():
            open_places.enter_context(there[0].place.expecting([stage.engine for stage in there]))
        yield


def watch(product: Product, place: Place, context: Any) -> Made:
    """`monitors`: read the journal of what is live, now."""
    live = product.releases.live()
    if live is None:
        raise NotReadyError("monitors", "a live endpoint")
    stage = product.stage("monitors")
    publish("monitors", "started")
    started = time.monotonic()
    job = stage.watch_job(live)
    product.place("endpoint").bring_journal(product.journal, horizon(product.spec.monitors, time.time()))
    with product.lock(wait=3600):
        place.run(context, job)
        product.store.move_head(product.name, product.target, "monitors", job.key)
    artifact = product.store.find(product.name, "monitors", job.key)
    assert artifact
    publish("monitors", "done", reused=False, seconds=time.monotonic() - started, summary=artifact.manifest.summary)
    return Made(artifact, False)


def require(stage: Stage) -> None:
    """What this stage reads exists, has the bytes its manifest says, and passed its checks."""
    for need in stage.needs:
        upstream = stage.product.stage(need)
        artifact = sound(stage.product, upstream.artifact)
        if artifact is None:
            raise NotReadyError(stage.name, need)
        failed = [verdict.reason for verdict in upstream.verdicts(artifact) if not verdict.passed]
        if failed and need != "evaluation":
            raise BlockedError(f"{need} does not pass: {'; '.join(failed)}")


def sound(product: Product, artifact: Artifact | None) -> Artifact | None:
    """The artifact, if its bytes are right. A damaged one is set aside, so that the next apply makes it again."""
    if artifact is None:
        return None
    try:
        return artifact.verify()
    except DamagedError:
        product.store.set_aside(artifact)
        raise


def revive(product: Product, place: Place) -> Live | None:
    """What should be live and does not answer is started again, whatever becomes of the next release. One whose artifact is
    gone or damaged is not: it would not come up, and what is planned makes it again."""
    pointed = product.releases.live()
    if pointed is None or place.live(product.name, product.target) is not None:
        return None
    with product.lock(wait=3600):
        if not _there(product, pointed):
            return None
        return place.serve(product.located(pointed))


def _there(product: Product, release: Release) -> bool:
    """Whether all of what it serves is in the store."""
    try:
        return sound(product, product.store.find(product.name, "onnx", release.artifact_key)) is not None
    except DamagedError:
        return False


def deploy(product: Product, place: Place) -> Deployed:
    """The gate, then the swap, then a look at what really runs, then the pointer. A gate that fails touches nothing."""
    with product.lock(wait=3600, waiting=lambda who: publish("endpoint", "note", text=f"waiting for {who}")):
        publish("endpoint", "started")
        started = time.monotonic()
        require(product.stage("endpoint"))
        exposure.check(product.loaded)
        seen = product.releases.seen()
        asked, now = product.next_release(), product.releases.live()
        if now and now.content == asked.content:
            live = place.serve(product.located(now))
            publish(
                "endpoint", "done", reused=True, seconds=time.monotonic() - started, summary=f"release {now.number} at {live.url}"
            )
            return Deployed(now, live, False)
        release = product.releases.add(_passed(product, asked))
        live = place.serve(product.located(release))
        if live.release != release.number:
            raise PlaceError(f"release {release.number} was deployed, but release {live.release} answers at {live.url}")
        product.releases.point(release, _now(), seen)
        trail(product).add("deployed", release=release.number, before=now.number if now else None, git=release.git)
        if (tried := product.releases.candidate()) and tried.number == release.number:
            drop(product, place)
        publish(
            "endpoint", "done", reused=False, seconds=time.monotonic() - started, summary=f"release {release.number} at {live.url}"
        )
    return Deployed(release, live, True)


def nominate(product: Product, place: Place) -> Deployed:
    """The gate, then the release beside what is live, for those who may test. What is live is not touched."""
    with product.lock(wait=3600):
        require(product.stage("endpoint"))
        exposure.check(product.loaded)
        asked, now = product.next_release(), product.releases.live()
        if now and now.content == asked.content:
            raise CallError(f"release {now.number} is live, and nothing else is asked for: there is nothing to try out")
        release = product.releases.add(_passed(product, asked))
        live = place.try_out(product.located(release))
        product.releases.nominate(release, _now())
        trail(product).add("nominated", release=release.number, git=release.git)
    return Deployed(release, live, True)


def promote(product: Product, place: Place) -> Deployed:
    """The candidate becomes live, if it still passes against what is live now; its own endpoint ends."""
    with product.lock(wait=3600):
        release = product.releases.candidate()
        if release is None:
            raise CallError(f"{product.name} has no candidate\n  make one: llmspec apply {product.loaded.path} --candidate")
        _passed(product, release)
        done = _move(product, place, release, "promoted")
        drop(product, place)
    return done


def rollback(product: Product, place: Place, number: int | None = None) -> Deployed:
    """An older release becomes live again, as it was; the one before when no number is said."""
    with product.lock(wait=3600):
        release = product.releases.before() if number is None else product.releases.get(number)
        if release is None:
            what = "nothing was live before" if number is None else f"there is no release {number}"
            raise CallError(f"{what}\n  see: llmspec history {product.loaded.path}")
        return _move(product, place, release, "rolled back")


def drop(product: Product, place: Place) -> bool:
    """Nothing is tried out any more. False when nothing was."""
    product.releases.dismiss()
    return place.end_trial(product.name, product.target)


def _move(product: Product, place: Place, release: Release, event: str) -> Deployed:
    """The swap, then a look at what really runs, then the pointer: as in `deploy`."""
    seen, before = product.releases.seen(), product.releases.live()
    live = place.serve(product.located(release))
    if live.release != release.number:
        raise PlaceError(f"release {release.number} was to be live, but release {live.release} answers at {live.url}")
    product.releases.point(release, _now(), seen)
    trail(product).add(event, release=release.number, before=before.number if before else None, git=commit())
    return Deployed(release, live, before is None or before.number != release.number)


def trail(product: Product) -> Trail:
    """Where it is written down who changed what is live."""
    return Trail(access_folder(product.name, product.target))


def _passed(product: Product, release: Release) -> Release:
    """The release with its verdict written into it; or the gate stays shut."""
    live = product.releases.live()
    judged = checks.gates(product.spec, release.scores, release.scored_on, live)
    failed = [verdict.reason for verdict in judged if not verdict.passed]
    if failed:
        still = f"The endpoint still serves release {live.number}." if live else "Nothing is live."
        raise BlockedError(f"Stopped at the gate: {'; '.join(failed)}. {still}")
    return replace(release, verdict=[vars(verdict) for verdict in judged], made_at=_now(), made_by=user(), git=commit())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
