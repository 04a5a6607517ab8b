"""governance.retention.data: rows and token ids that are old, and that nothing current was made from, leave the store.

S3 knows how old an object is and not whether it is live, so no rule of the bucket does this: `apply` does, in a bucket and in
a folder alike.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llmspec.copies import COMING, copies_of
from llmspec.release import Releases
from llmspec.section import KEPT
from llmspec.shelf import DAMAGED, MANIFEST, PARTIAL, Folder
from llmspec.stage import Product
from llmspec.store import Artifact, Store, open_artifact

HOLDS_ROWS = ("data", "features")
"""Token ids are the same rows in other letters."""
HEAD = ".head"


def sweep(product: Product) -> list[Artifact]:
    """What is gone now. The product's lock is held: nobody begins to use what goes."""
    rules = product.spec.governance
    if rules is None or rules.retention.data is None:
        return []
    return remove(product.store, product.name, datetime.now(UTC) - timedelta(seconds=rules.retention.data))


def remove(store: Store, name: str, before: datetime) -> list[Artifact]:
    """What was made before this moment and is not current; and what a job that died left before it, which nobody was to use."""
    for folder in _unfinished(store, name, before):
        shutil.rmtree(folder)
    if not (old := list(_older(store, name, before))):
        return []
    current = _current(store, name)
    gone = [artifact for artifact in old if artifact.uri.endswith(DAMAGED) or artifact.manifest.digest not in current]
    for artifact in gone:
        artifact.at.clear()
    return gone


def _older(store: Store, name: str, before: datetime) -> Iterator[Artifact]:
    """Also what was damaged and set aside: it holds rows all the same."""
    for stage in HOLDS_ROWS:
        shelf = store.root.below(f"{name}/{stage}")
        folders = {folder for folder, _, inside in (file.partition("/") for file in shelf.sizes()) if inside == MANIFEST}
        for folder in sorted(folder for folder in folders if not folder.endswith(PARTIAL)):
            artifact = open_artifact(shelf.below(folder))
            if artifact and artifact.manifest.finished and datetime.fromisoformat(artifact.manifest.finished) < before:
                yield artifact


def _unfinished(store: Store, name: str, before: datetime) -> Iterator[Path]:
    """Rows that grew, or were coming as a copy, and that nobody went on with since."""
    at = store.root.path / name if isinstance(store.root, Folder) else copies_of(name)
    for stage in HOLDS_ROWS:
        for folder in (at / stage).glob("*.*"):
            if folder.name.endswith((PARTIAL, COMING)) and _touched(folder) < before.timestamp():
                yield folder


def _touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _current(store: Store, name: str) -> set[str]:
    """The digests of what any target's heads and releases refer to, and of all that it was made from."""
    every = [artifact.manifest for stage in KEPT for artifact in store.artifacts(name, stage)]
    keys = {*_heads(store, name), *_served(store, name)}
    found: set[str] = set()
    fresh = {manifest.digest for manifest in every if manifest.key in keys}
    while fresh:
        found |= fresh
        fresh = {digest for manifest in every if manifest.digest in fresh for digest in manifest.inputs.values()} - found
    return found


def _heads(store: Store, name: str) -> Iterator[str]:
    for stage in KEPT:
        shelf = store.root.below(f"{name}/{stage}")
        for file in shelf.sizes():
            if file.endswith(HEAD) and "/" not in file:
                yield (shelf.read(file) or "").strip()


def _served(store: Store, name: str) -> Iterator[str]:
    """What is live or tried out, at each target."""
    shelf = store.root.below(f"{name}/endpoint")
    for target in {target for target, inside, _ in (file.partition("/") for file in shelf.sizes()) if inside}:
        releases = Releases(shelf.below(target))
        for release in (releases.live(), releases.candidate()):
            if release is not None:
                yield from (release.artifact_key, release.evaluation_key)
