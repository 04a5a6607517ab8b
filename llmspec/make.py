"""Make a stage's artifact, or find that it is made: the same whether apply, the UI or a schedule asks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from llmspec import copies
from llmspec.card import Place
from llmspec.errors import BlockedError, DamagedError, PlaceError
from llmspec.journal_stats import horizon
from llmspec.progress import publish
from llmspec.registry import name_of
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
    with product.watching(lambda who: publish("monitors", "note", text=f"waiting for {who}")):
        place.run(context, job)
        product.store.move_head(product.name, product.target, "monitors", job.key)
    artifact = product.store.find(product.name, "monitors", job.key)
    assert artifact
    publish("monitors", "done", reused=False, seconds=time.monotonic() - started, summary=artifact.manifest.summary)
    return Made(artifact, False)


def require(stage: Stage) -> None:
    """What this stage reads, a base in another spec too, exists and has the bytes its manifest says, and all that is above it
    passes its checks."""
    for need in stage.needs:
        if sound(stage.product, stage.product.stage(need).artifact) is None:
            raise NotReadyError(stage.name, need)
    if base := stage.base_product:
        try:
            sound(base, base.stage("model").artifact)
        except DamagedError as error:
            cure = f"what was there is damaged and set aside; make it again: {base.apply_model}"
            raise NotReadyError(stage.name, f"the model of {base.loaded.path}", cure) from error
    if unfit := stage.unfit():
        raise BlockedError("\n".join(unfit))


def sound(product: Product, artifact: Artifact | None) -> Artifact | None:
    """The artifact, if its bytes are right. A damaged one is set aside, so that the next apply makes it again."""
    if artifact is None:
        return None
    try:
        return artifact.verify()
    except DamagedError:
        product.store.set_aside(artifact)
        raise
