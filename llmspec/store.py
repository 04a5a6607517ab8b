"""The store: immutable artifacts at `<store>/<name>/<stage>/<key>/`, complete once their manifest is there.

An artifact is built in `<key>.partial/` of a folder, hashed, given its manifest, and renamed; into S3 its files are sent first and
the manifest last: a crash leaves rubbish, never a half artifact. What is under `report/` is for people (pictures, times,
examples) and not part of the content digest.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from llmspec.errors import DamagedError, NoStoreError, StoreError
from llmspec.home import home, root
from llmspec.job import Digest, digest_of
from llmspec.lock import LOCK, Waiting, locked
from llmspec.release import Releases
from llmspec.section import STAGES
from llmspec.shelf import DAMAGED, MANIFEST, PARTIAL, File, Folder, Shelf, complete, shelf_at, write_atomically

REPORT = "report"

DEPLOYED, MONITORED = "deployed", "monitored"
"""What is done to a product at a target beside the making of artifacts, by one at a time each."""
SWAP_SECONDS = 3600.0
"""How long somebody waits for another who changes what is live, or looks at it: a rollout in steps may take that."""


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


def content_digest(files: dict[str, File]) -> Digest:
    return digest_of({name: file.sha256 for name, file in files.items() if not name.startswith(f"{REPORT}/")})


def seal(grown: Path, output: Path, manifest: Manifest) -> None:
    """Give the partial folder its manifest and its name."""
    complete(grown, output, manifest.to_json())


@dataclass(frozen=True)
class Artifact:
    """A complete artifact in the store."""

    at: Shelf
    manifest: Manifest

    @property
    def uri(self) -> str:
        return self.at.uri

    @property
    def folder(self) -> Path:
        """Where its files are, of one on this machine."""
        assert isinstance(self.at, Folder), self.uri
        return self.at.path

    def whole(self) -> bool:
        """A quick look: every file is there, at its size."""
        sizes = self.at.sizes()
        return all(sizes.get(name) == file.bytes for name, file in self.manifest.files.items())

    def verify(self) -> "Artifact":
        """A thorough look: every file is as the manifest says."""
        for name in self.at.damaged(self.manifest.files):
            raise DamagedError(f"{self.uri}/{name}: not as its manifest says; apply again to rebuild it")
        return self

    def content(self, name: str) -> bytes:
        """One of its files."""
        return self.at.content(name)

    def reports(self, ending: str = "") -> list[str]:
        """What it holds for people, by name."""
        names = sorted(name for name in self.manifest.files if name.startswith(f"{REPORT}/") and name.endswith(ending))
        return [name for name in names if name.count("/") == 1]


@dataclass(frozen=True)
class Store:
    """All artifacts and releases of all products.

    `elders` are stores that this project used before: what is complete there need not be made again, only copied.
    """

    root: Shelf
    elders: tuple[Shelf, ...] = ()

    @property
    def everywhere(self) -> tuple[Shelf, ...]:
        return (self.root, *self.elders)

    def at(self, name: str, stage: str, key: str) -> Shelf:
        return self.root.below(f"{name}/{stage}/{key}")

    def find(self, name: str, stage: str, key: str) -> Artifact | None:
        """The complete artifact with this key, here or in an elder store."""
        for shelf in self.everywhere:
            with self._asked(shelf):
                artifact = open_artifact(shelf.below(f"{name}/{stage}/{key}"))
                if artifact and artifact.whole():
                    return artifact
        return None

    def holding(self, name: str) -> list[Shelf]:
        """The shelves of this name that hold something: here, and in elder stores."""
        found = []
        for shelf in self.everywhere:
            with self._asked(shelf):
                if shelf.below(name).held():
                    found.append(shelf.below(name))
        return found

    def releases(self, name: str, target: str) -> Releases:
        """Where their pointers moved last, which is here when it is the same everywhere. A store that a crash kept from getting
        all of them is behind the one they come from, and so is one that was left and is come back to."""
        found = []
        for shelf in self.everywhere:
            with self._asked(shelf):
                releases = Releases(shelf.below(f"{name}/endpoint/{target}"))
                found.append((releases.moved(), releases))
        return max(found, key=itemgetter(0))[1]

    @contextmanager
    def _asked(self, shelf: Shelf) -> Iterator[None]:
        """An elder store that is gone holds nothing. One that cannot be asked may hold what would be made again for money."""
        try:
            yield
        except NoStoreError:
            if shelf is self.root:
                raise
        except StoreError as error:
            if shelf is self.root:
                raise
            cure = f"it is an earlier store of this product; remove it from {_known_stores()} to do without what it holds"
            raise StoreError(f"{error}\n  {cure}") from error

    def owns(self, artifact: Artifact) -> bool:
        return artifact.uri.startswith(self.root.uri.rstrip("/") + "/")

    def artifacts(self, name: str, stage: str) -> list[Artifact]:
        """All complete artifacts of a stage, the oldest first."""
        shelf = self.root.below(f"{name}/{stage}")
        there = [file.partition("/") for file in shelf.sizes()]
        keys = [key for key, _, file in there if file == MANIFEST and not key.endswith((PARTIAL, DAMAGED))]
        texts = shelf.read_all(f"{key}/{MANIFEST}" for key in keys)
        found = [artifact for key, text in zip(keys, texts, strict=True) if (artifact := _parsed(shelf.below(key), text))]
        return sorted(found, key=lambda artifact: (artifact.manifest.finished, artifact.manifest.key))

    def head(self, name: str, target: str, stage: str) -> Artifact | None:
        """The artifact that was last made or reused for this target: what a plan compares with."""
        key = self.root.read(f"{name}/{stage}/{target}.head")
        return open_artifact(self.at(name, stage, key.strip())) if key else None

    def move_head(self, name: str, target: str, stage: str, key: str) -> None:
        head = f"{name}/{stage}/{target}.head"
        if (self.root.read(head) or "").strip() != key:
            self.root.write(head, key + "\n")

    def set_aside(self, artifact: Artifact) -> None:
        """A damaged artifact loses its place, so that it counts as never made; its files stay beside it to be looked at."""
        artifact.at.set_aside()

    def writable(self, name: str) -> None:
        """Say so now, not after an hour of training."""
        self.root.below(name).writable()

    def stands(self, name: str) -> bool:
        """Whether there is a store already: the foundation makes the one in S3."""
        return self.root.below(name).stands()

    @contextmanager
    def steady(self, name: str, target: str) -> Iterator[None]:
        """One moment of the store, nothing asked twice, and what a plan is most likely to want asked for at once."""
        releases = f"{name}/endpoint/{target}"
        heads = {stage: f"{name}/{stage}/{target}.head" for stage in STAGES}
        with self.root.steady():
            self.root.ahead([*heads.values(), f"{releases}/live.json", f"{releases}/candidate.json"], [releases])
            known = [f"{name}/{stage}/{key.strip()}" for stage, head in heads.items() if (key := self.root.read(head))]
            self.root.ahead([f"{place}/{MANIFEST}" for place in known], known)
            yield

    def lock(self, name: str, *, wait: float = 0.0, waiting: Waiting = lambda _: None) -> AbstractContextManager[None]:
        """One writer of a product's artifacts."""
        return self.root.below(name).lock(LOCK, wait=wait, waiting=waiting)

    def lock_at(self, name: str, target: str, doing: str, waiting: Waiting) -> AbstractContextManager[None]:
        """One at a time does this to the product at a target, whatever artifact is being made meanwhile."""
        return self.root.below(name).lock(f".{doing}-{target}.lock", doing=doing, wait=SWAP_SECONDS, waiting=waiting)


def open_artifact(at: Shelf | Path) -> Artifact | None:
    """The artifact on this shelf; None when it is not complete."""
    shelf = Folder(at) if isinstance(at, Path) else at
    try:
        text = shelf.read(MANIFEST)
    except UnicodeDecodeError:
        return None
    return None if text is None else _parsed(shelf, text)


def _parsed(shelf: Shelf, manifest: str) -> Artifact | None:
    try:
        return Artifact(shelf, Manifest.from_json(manifest))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _known_stores() -> Path:
    return home() / "stores.json"


def _remembered() -> dict[str, list[str]]:
    """Product -> the stores that it was kept in, the latest last."""
    path = _known_stores()
    try:
        text = Folder(path.parent).read(path.name)
        return {} if text is None else dict(json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        cure = "mend it, or remove it to do without what earlier stores hold"
        raise StoreError(f"{path}: cannot be read: {error}\n  {cure}") from error


def elders(name: str, store: Shelf) -> tuple[Shelf, ...]:
    """Stores that this project used for this product before, the latest first. A folder that is gone is none any more."""
    known = _remembered().get(name, [])
    shelves = [shelf_at(address, root()) for address in reversed(known) if address != store.uri]
    return tuple(shelf for shelf in shelves if not isinstance(shelf, Folder) or shelf.held())


def remember_store(name: str, store: Shelf) -> None:
    """Moving house must not retrain, so the old address is kept. Other products may be applied meanwhile."""
    if _remembered().get(name, [])[-1:] != [store.uri]:
        with _remembering() as known:
            known[name] = [*(address for address in known.get(name, []) if address != store.uri), store.uri]


def keep_stores(name: str, kept: Collection[str]) -> None:
    """Nothing of this product is looked for in other stores any more."""
    if set(_remembered().get(name, [])) - set(kept):
        with _remembering() as known:
            known[name] = [address for address in known.get(name, []) if address in kept]


@contextmanager
def _remembering() -> Iterator[dict[str, list[str]]]:
    """The list, to be changed."""
    path = _known_stores()
    with locked(path.with_name(f"{path.name}{LOCK}"), f"{path} is being written", wait=60):
        known = _remembered()
        yield known
        write_atomically(path, json.dumps(known, indent=1))
