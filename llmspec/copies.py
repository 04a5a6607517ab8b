"""Copies: the files of an artifact that is in S3, on this machine, for the work or the server that reads them.

They are at `.llmspec/copies/<name>/<stage>/<key>/`, as in a store of this machine's own. What is made for S3 grows there too.
"""

from pathlib import Path

from llmspec.errors import DamagedError, GoneError, StoreError
from llmspec.home import home, root
from llmspec.job import Job
from llmspec.lock import LOCK, locked
from llmspec.shelf import S3, Folder, Shelf, shelf_at
from llmspec.store import Artifact, Store, open_artifact, seal

WAIT_SECONDS = 3600.0
COMING = ".coming"


def copies_of(name: str) -> Path:
    """Everything of a product; it can be removed at any time, and costs a download then."""
    return home() / "copies" / name


def grows_at(job: Job) -> Path:
    """The folder where a job's artifact is made: the store's own, or one to send it from."""
    return copies_of(job.spec) / job.stage / job.key if job.output.startswith(S3) else Path(job.output)


def at_hand(uri: str, *, mends: bool = True) -> Path:
    """The folder with these files: an input as it is, or the copy of an artifact, every byte as its manifest says."""
    if not uri.startswith(S3):
        return Path(uri)
    artifact = open_artifact(shelf_at(uri, root()))
    if artifact is None:
        raise StoreError(f"{uri}: there is no complete artifact\n  apply again to make it")
    return copied(artifact, mends=mends).folder


def copied(artifact: Artifact, *, mends: bool = True) -> Artifact:
    """The artifact on this machine. One that turns out damaged is set aside, so that the next apply makes it again; whoever
    only serves it changes nothing in the store."""
    if isinstance(artifact.at, Folder):
        return artifact
    manifest = artifact.manifest
    folder = copies_of(manifest.spec) / manifest.stage / manifest.key
    with locked(folder.parent / LOCK, f"{manifest.stage} of {manifest.spec} is being copied to this machine", wait=WAIT_SECONDS):
        if found := _sound(folder, artifact):
            return found
        try:
            _fetch(artifact, folder)
        except DamagedError:
            if mends:
                artifact.at.set_aside()
            raise
    return Artifact(Folder(folder), manifest)


def _sound(folder: Path, artifact: Artifact) -> Artifact | None:
    """The copy, if it is one of this very artifact and has the right bytes."""
    found = open_artifact(folder)
    right = found and found.manifest == artifact.manifest and not found.at.damaged(found.manifest.files)
    return found if right else None


def _fetch(artifact: Artifact, folder: Path) -> None:
    coming, files = folder.with_name(folder.name + COMING), artifact.manifest.files
    missing = {name: files[name] for name in Folder(coming).damaged(files)}  # the rest came before a crash
    try:
        artifact.at.fetch(missing, coming)
    except GoneError as error:
        raise DamagedError(f"{error}; apply again to rebuild it") from error
    for name in Folder(coming).damaged(missing):
        raise DamagedError(f"{artifact.uri}/{name}: not as its manifest says; apply again to rebuild it")
    seal(coming, folder, artifact.manifest)


def adopt(store: Store, artifact: Artifact) -> None:
    """Copy an elder store's artifact into this one."""
    manifest = artifact.verify().manifest
    send(copied(artifact), store.at(manifest.spec, manifest.stage, manifest.key))


def send(made: Artifact, to: Shelf) -> None:
    """What is on this machine, to where it belongs."""
    to.put(made.folder, made.manifest.files, made.manifest.to_json())


def unsent(job: Job) -> Artifact | None:
    """What was made for S3 before, and did not get there: a crash came between."""
    made = open_artifact(grows_at(job)) if job.output.startswith(S3) else None
    return made if made and not made.at.damaged(made.manifest.files) else None
