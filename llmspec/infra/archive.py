"""archive: a serverless endpoint of SageMaker takes one file and no folder. It is made of the artifact before the stack comes up.

It lies beside the artifact as `<key>-<digest>.tar.gz`: without a manifest nobody takes it for an artifact, and an artifact that was
made anew under the same key has another. S3 shows an object once all of it is there, so what has the name is whole.
"""

import gzip
import tarfile
from pathlib import Path

from llmspec import s3_files
from llmspec.copies import at_hand
from llmspec.infra.workspace import Say, quiet
from llmspec.release import Release
from llmspec.shelf import MANIFEST, S3, File, sha256_of
from llmspec.shelf_s3 import S3Shelf
from llmspec.site import Site
from llmspec.spec import Spec
from llmspec.store import open_artifact

DIGITS = 12
"""Of the artifact's digest."""
LEVEL = 1
"""Of gzip: weights hardly become smaller, and a harder try takes minutes."""


def wanted(spec: Spec) -> bool:
    """Whether the endpoint is of the form that takes one."""
    return getattr(spec.place("endpoint"), "form", "") == "serverless"


def address(release: Release) -> str:
    """Where it is, or will be."""
    return f"{release.artifact.rstrip('/')}-{release.artifact_digest[:DIGITS]}.tar.gz"


def ready(site: Site, release: Release, say: Say = quiet) -> None:
    """It is there when this ends. What lies where AWS cannot reach it is the program's to refuse."""
    if not wanted(site.spec) or not release.artifact.startswith(S3):
        return
    folder, _, name = address(release).rpartition("/")
    shelf = S3Shelf.at(folder)
    if s3_files.stored(shelf.bucket, shelf.prefix + name):
        return
    say(f"release {release.number} is packed into one file, as a serverless endpoint takes it: {name}")
    made = at_hand(release.artifact)
    path = made.with_name(name)
    try:
        pack(made, path)
        s3_files.send(shelf.bucket, shelf.prefix, path.parent, {name: File(sha256_of(path), path.stat().st_size)})
    finally:
        path.unlink(missing_ok=True)


def pack(folder: Path, path: Path) -> None:
    """The same artifact gives the same bytes, so that an upload that was cut off goes on with the parts that are there."""
    artifact = open_artifact(folder)
    assert artifact, folder
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted([MANIFEST, *artifact.manifest.files]):
            member = tarfile.TarInfo(name)  # of nobody, and of no time
            member.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as content:
                archive.addfile(member, content)
