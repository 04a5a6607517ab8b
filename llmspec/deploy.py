"""What is live, and how another release becomes it: through the gate, by a swap, and with a pointer that moves last."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llmspec import checks, exposure
from llmspec.audit import Trail
from llmspec.card import Place
from llmspec.errors import BlockedError, CallError, DamagedError, PlaceError
from llmspec.git import commit
from llmspec.home import access_folder
from llmspec.lock import Waiting, user
from llmspec.make import require, sound
from llmspec.progress import publish
from llmspec.release import Live, Release
from llmspec.stage import Product


@dataclass(frozen=True)
class Deployed:
    """What came of `endpoint`."""

    release: Release
    live: Live
    changed: bool


def revive(product: Product, place: Place) -> Live | None:
    """What should be live and does not answer is started again, whatever becomes of the next release. One whose artifact is
    gone or damaged is not: it would not come up, and what is planned makes it again."""
    if product.releases.live() is None or place.live(product.name, product.target) is not None:
        return None
    with product.deploying(_told):
        pointed = product.releases.live()  # somebody may have changed it, and have brought it up, while this waited
        if pointed is None or place.live(product.name, product.target) is not None or not _there(product, pointed):
            return None
        return place.serve(product.located(pointed))


def _there(product: Product, release: Release) -> bool:
    """Whether all of what it serves is in the store."""
    try:
        return sound(product, product.store.find(product.name, "onnx", release.artifact_key)) is not None
    except DamagedError:
        return False


def deploy(product: Product, place: Place) -> Deployed:
    """The gate, then the swap and the pointer. A gate that fails touches nothing."""
    with product.lock(wait=3600, waiting=_told), product.deploying(_told):
        publish("endpoint", "started")
        started = time.monotonic()
        require(product.stage("endpoint"))
        exposure.check(product.loaded)
        done = _as_asked(product, place)
        if (tried := product.releases.candidate()) and tried.content == done.release.content:
            drop(product, place)
        summary = f"release {done.release.number} at {done.live.url}"
        publish("endpoint", "done", reused=not done.changed, seconds=time.monotonic() - started, summary=summary)
    return done


def _as_asked(product: Product, place: Place) -> Deployed:
    """It is live already, shares the traffic anew, or is another release that passes the gate."""
    seen = product.releases.seen()
    asked, now = product.next_release(), product.releases.live()
    if misnamed := product.releases.misnamed(asked):
        raise BlockedError(f"{product.loaded.at('endpoint.variants')}: {'; '.join(misnamed)}\n  see `llmspec history`")
    if now is None or now.content != asked.content:
        release = product.releases.add(_passed(product, asked))
        return _move(product, place, release, "deployed", seen, release.git)
    if now.variants != asked.variants:
        return _move(product, place, now.sharing(asked.variants), "shared anew", seen, commit())
    return Deployed(now, place.serve(product.located(now)), False)


def nominate(product: Product, place: Place, waiting: Waiting = lambda _: None) -> Deployed:
    """The gate, then the release beside what is live, for those who may test. What is live is not touched."""
    with product.lock(wait=3600, waiting=waiting), product.deploying(waiting):
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


def promote(product: Product, place: Place, waiting: Waiting = lambda _: None) -> Deployed:
    """The candidate becomes live, if it still passes against what is live now; its own endpoint ends."""
    with product.deploying(waiting):
        seen, release = product.releases.seen(), product.releases.candidate()
        if release is None:
            raise CallError(f"{product.name} has no candidate\n  make one: llmspec apply {product.loaded.as_typed} --candidate")
        _passed(product, release)
        done = _move(product, place, release, "promoted", seen, commit())
        drop(product, place)
    return done


def rollback(product: Product, place: Place, number: int | None = None, waiting: Waiting = lambda _: None) -> Deployed:
    """An older release becomes live again, as it was and with all of the traffic; the one before when no number is said.
    For no training is waited."""
    with product.deploying(waiting):
        seen = product.releases.seen()
        release = product.releases.before() if number is None else product.releases.get(number)
        if release is None:
            what = "nothing was live before" if number is None else f"there is no release {number}"
            raise CallError(f"{what}\n  see: llmspec history {product.loaded.as_typed}")
        return _move(product, place, release.sharing([]), "rolled back", seen, commit())


def drop(product: Product, place: Place) -> bool:
    """Nothing is tried out any more. False when nothing was. The pointer goes last: nothing runs that it does not name."""
    ended = place.end_trial(product.name, product.target)
    if product.releases.candidate():
        product.releases.dismiss(_now())
    return ended


def _move(product: Product, place: Place, release: Release, event: str, seen: str, git: str) -> Deployed:
    """The swap, then a look at what really runs, then the pointer, if it is still as it was `seen`."""
    before = product.releases.live()
    live = place.serve(product.located(release))
    if live.release != release.number:
        raise PlaceError(f"release {release.number} was to be live, but release {live.release} answers at {live.url}")
    product.releases.point(release, _now(), seen)
    shares = ", ".join(f"{variant['release']}: {variant['weight']} %" for variant in release.variants)
    trail(product).add(event, release=release.number, before=before.number if before else None, shares=shares, git=git)
    return Deployed(release, live, before is None or (before.number, before.variants) != (release.number, release.variants))


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


def _told(who: str) -> None:
    publish("endpoint", "note", text=f"waiting for {who}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
