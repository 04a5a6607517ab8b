"""The store: immutable artifacts at `<store>/<name>/<stage>/<key>/`, complete once their manifest is there.

An artifact is built in `<key>.partial/`, hashed, given its manifest, and renamed: a crash leaves a partial folder, never a
half artifact. What is under `report/` is for people (pictures, times, examples) and not part of the content digest.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmspec.errors import DamagedError, StoreError
from llmspec.home import home
from llmspec.job import Digest, digest_of

MANIFEST = "manifest.json"
REPORT = "report"
PARTIAL = ".partial"
DAMAGED = ".damaged"


@dataclass(frozen=True)
class File:
    """One file of an artifact."""

    sha256: Digest
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, from what it was made, and what came out. Present = complete."""

    spec: str
    stage: str
    key: str
    digest: Digest
    engine: str
    version: int
    options: dict[str, Any]
    """The options in its key: what a plan compares with."""
    inputs: dict[str, Digest]
    sources: dict[str, dict[str, Digest]]
    files: dict[str, File]
    metrics: dict[str, Any]
    summary: str = ""
    """One line for the terminal: '9,412 rows → 1.9 M tokens'."""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    finished: str = ""
    git: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        fields = json.loads(text)
        fields["files"] = {name: File(**item) for name, item in fields["files"].items()}
        return cls(**fields)


def sha256_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> Iterator[str]:
    """Every file's path inside the folder, in order, but for the manifest."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(folder).as_posix()


def content_digest(files: dict[str, File]) -> Digest:
    return digest_of({name: file.sha256 for name, file in files.items() if not name.startswith(f"{REPORT}/")})


def partial(output: Path) -> Path:
    """Where an artifact grows. Kept over a crash, so that training can go on from its checkpoint."""
    return output.with_name(output.name + PARTIAL)


def write_atomically(path: Path, text: str, mode: int | None = None) -> None:
    """All of it or nothing, also when power goes. With a mode, nobody else ever sees more than that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def seal(grown: Path, output: Path, manifest: Manifest) -> None:
    """Give the partial folder its manifest and its name."""
    write_atomically(grown / MANIFEST, manifest.to_json())
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(output)
    grown.replace(output)


@dataclass(frozen=True)
class Artifact:
    """A complete artifact in the store."""

    folder: Path
    manifest: Manifest

    @property
    def uri(self) -> str:
        return str(self.folder)

    def whole(self) -> bool:
        """A quick look: every file is there, at its size."""
        try:
            return all((self.folder / name).stat().st_size == file.bytes for name, file in self.manifest.files.items())
        except OSError:
            return False

    def verify(self) -> "Artifact":
        """A thorough look: every byte is as the manifest says."""
        for name, file in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
                raise DamagedError(f"{path}: not as its manifest says; apply again to rebuild it")
        return self


@dataclass(frozen=True)
class Store:
    """All artifacts and releases of all products: a folder.

    `elders` are stores that this project used before: what is complete there need not be made again, only copied.
    """

    root: Path
    elders: tuple[Path, ...] = ()

    def product(self, name: str) -> Path:
        return self.root / name

    def folder(self, name: str, stage: str, key: str) -> Path:
        return self.root / name / stage / key

    def find(self, name: str, stage: str, key: str) -> Artifact | None:
        """The complete artifact with this key, here or in an elder store."""
        for root in (self.root, *self.elders):
            artifact = open_artifact(root / name / stage / key)
            if artifact and artifact.whole():
                return artifact
        return None

    def owns(self, artifact: Artifact) -> bool:
        return artifact.folder.is_relative_to(self.root)

    def adopt(self, artifact: Artifact) -> None:
        """Copy an elder's artifact here, with the manifest last."""
        manifest = artifact.verify().manifest
        output = self.folder(manifest.spec, manifest.stage, manifest.key)
        grown = partial(output)
        shutil.rmtree(grown, ignore_errors=True)
        shutil.copytree(artifact.folder, grown, ignore=shutil.ignore_patterns(MANIFEST))
        seal(grown, output, manifest)

    def artifacts(self, name: str, stage: str) -> list[Artifact]:
        """All complete artifacts of a stage, the oldest first."""
        folders = (self.root / name / stage).glob("*/")
        found = [artifact for folder in folders if folder.suffix not in (PARTIAL, DAMAGED) and (artifact := open_artifact(folder))]
        return sorted(found, key=lambda artifact: (artifact.manifest.finished, artifact.manifest.key))

    def head(self, name: str, target: str, stage: str) -> Artifact | None:
        """The artifact that was last made or reused for this target: what a plan compares with."""
        try:
            key = (self.root / name / stage / f"{target}.head").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        return open_artifact(self.folder(name, stage, key))

    def move_head(self, name: str, target: str, stage: str, key: str) -> None:
        path = self.root / name / stage / f"{target}.head"
        if not path.exists() or path.read_text(encoding="utf-8").strip() != key:
            write_atomically(path, key + "\n")

    def set_aside(self, artifact: Artifact) -> None:
        """A damaged artifact loses its place, so that it counts as never made; its files stay beside it to be looked at."""
        aside = artifact.folder.with_name(artifact.folder.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        artifact.folder.replace(aside)

    def writable(self) -> None:
        """Say so now, not after an hour of training."""
        probe = self.root / f".write-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_text("llmspec", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"cannot write to the store {self.root}: {reason}\n  free or mount it, or name another `store:`"
            ) from error


def open_artifact(folder: Path) -> Artifact | None:
    """The artifact in this folder; None when it is not complete."""
    try:
        return Artifact(folder, Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, TypeError, KeyError):
        return None


def _known_stores() -> Path:
    return home() / "stores.json"


def elders(name: str, store: Path) -> tuple[Path, ...]:
    """Stores that this project used for this product before, the latest first."""
    try:
        known = json.loads(_known_stores().read_text(encoding="utf-8")).get(name, [])
    except (OSError, ValueError):
        return ()
    return tuple(Path(root) for root in reversed(known) if Path(root) != store and Path(root).is_dir())


def remember_store(name: str, store: Path) -> None:
    """Moving house must not retrain, so the old address is kept."""
    path = _known_stores()
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    roots = [root for root in known.get(name, []) if root != str(store)]
    write_atomically(path, json.dumps(known | {name: [*roots, str(store)]}, indent=1))
