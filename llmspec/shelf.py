"""A shelf: named files below one address. The store is built on nothing else, so a folder and a bucket hold the same things.

The folder's form is here; S3's is in `shelf_s3`, which is imported only when a spec names a bucket.
"""

import contextlib
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from llmspec.errors import MovedError, StoreError
from llmspec.job import Digest
from llmspec.lock import LOCK, Waiting, locked

MANIFEST = "manifest.json"
PARTIAL = ".partial"
DAMAGED = ".damaged"
S3 = "s3://"
ABSENT = ""
"""The version of a file that is not there."""


@dataclass(frozen=True)
class File:
    """One file of an artifact."""

    sha256: Digest
    bytes: int


class Shelf(ABC):
    """Names are relative, with '/' between their parts."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """Its address: what a job, a release and a message call it."""

    @abstractmethod
    def below(self, name: str) -> "Shelf":
        """The shelf at this name."""

    @abstractmethod
    def look(self, name: str) -> tuple[str | None, str]:
        """A small file's text, and the version of it that `write(over=…)` asks for."""

    @abstractmethod
    def write(self, name: str, text: str, over: str | None = None) -> None:
        """All of it or nothing. With a version, only in place of that one: MovedError when somebody was quicker."""

    @abstractmethod
    def content(self, name: str) -> bytes:
        """A file's bytes, as they are."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """One file, if it is there."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Every file at or below it, with its size."""

    @abstractmethod
    def held(self) -> bool:
        """Whether anything is here."""

    @abstractmethod
    def damaged(self, files: Mapping[str, File]) -> list[str]:
        """Which of these are not there, or are not what they were."""

    @abstractmethod
    def put(self, source: Path, files: Mapping[str, File], manifest: str) -> None:
        """The files of a folder become the artifact here, the manifest last: a crash leaves no half artifact."""

    @abstractmethod
    def fetch(self, files: Mapping[str, File], target: Path) -> None:
        """Bring files into a folder of this machine."""

    @abstractmethod
    def set_aside(self) -> None:
        """It counts as never made; what it holds stays beside it to be looked at."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything here."""

    @abstractmethod
    def stands(self) -> bool:
        """Whether there is something to write into: a folder makes itself, a bucket is made by somebody."""

    @abstractmethod
    def writable(self) -> None:
        """Say now if nothing can be written, not after an hour of training."""

    @abstractmethod
    def lock(
        self, name: str, *, doing: str = "applied", wait: float = 0.0, waiting: Waiting = lambda _: None
    ) -> AbstractContextManager[None]:
        """One holder at a time, gone with its holder. `doing` is what is being done to what lies here: for whoever has to wait."""

    @abstractmethod
    def steady(self) -> AbstractContextManager[None]:
        """Inside the block nothing is asked twice: one moment of the shelf, until we write to it."""

    @abstractmethod
    def ahead(self, files: Iterable[str], shelves: Iterable[str]) -> None:
        """Within `steady`: these will be read, and these looked over. What is far away is asked for all of it at once."""

    def read(self, name: str) -> str | None:
        """A small file's text; None when there is none."""
        return self.look(name)[0]

    def read_all(self, names: Iterable[str]) -> list[str]:
        """The text of those that are there, in their order."""
        return [text for name in names if (text := self.read(name)) is not None]


@dataclass(frozen=True)
class Folder(Shelf):
    """A folder of this machine."""

    path: Path

    @property
    def uri(self) -> str:
        return str(self.path)

    def below(self, name: str) -> "Folder":
        return Folder(self.path / name)

    def look(self, name: str) -> tuple[str | None, str]:
        try:
            text = (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None, ABSENT
        return text, hashlib.sha256(text.encode()).hexdigest()

    def write(self, name: str, text: str, over: str | None = None) -> None:
        if over is not None and self.look(name)[1] != over:
            raise MovedError(f"{self.path / name} was moved by somebody else meanwhile\n  apply again")
        write_atomically(self.path / name, text)

    def content(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        found = {}
        for path in self.path.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a file that is being written has another name until it is whole
                if path.is_file():
                    found[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return found

    def held(self) -> bool:
        return self.path.is_dir()

    def damaged(self, files: Mapping[str, File]) -> list[str]:
        return [name for name, file in files.items() if not _same(self.path / name, file)]

    def put(self, source: Path, files: Mapping[str, File], manifest: str) -> None:
        grown = partial(self.path)
        shutil.rmtree(grown, ignore_errors=True)
        Folder(source).fetch(files, grown)
        complete(grown, self.path, manifest)

    def fetch(self, files: Mapping[str, File], target: Path) -> None:
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.path / name, target / name)

    def set_aside(self) -> None:
        aside = self.path.with_name(self.path.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        self.path.replace(aside)

    def clear(self) -> None:
        """Its locks go last: until then they keep others out."""
        locks = sorted(self.path.glob(f"*{LOCK}"))
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in locks:
                path.unlink()
        for path in locks:
            path.unlink()
        with contextlib.suppress(OSError):  # whoever came next has a lock of their own in it by now
            self.path.rmdir()

    def stands(self) -> bool:
        return True

    def writable(self) -> None:
        probe = self.path / f".write-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_text("llmspec", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"cannot write to the store {self.path}: {reason}\n  free or mount it, or name another `store:`"
            ) from error

    def lock(
        self, name: str, *, doing: str = "applied", wait: float = 0.0, waiting: Waiting = lambda _: None
    ) -> AbstractContextManager[None]:
        what = f"{self.path.name} is being {doing}"
        return locked(self.path / name, what, wait=wait, waiting=waiting, elsewhere="name another `store:`")

    def steady(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def ahead(self, files: Iterable[str], shelves: Iterable[str]) -> None:
        """A folder is near."""


def shelf_at(address: str, root: Path, coming: bool = False) -> Shelf:
    """The shelf that a spec's `store:` names; a folder is relative to `root`. One that is `coming` is empty until it is there."""
    if not address.startswith(S3):
        return Folder(root / address)
    from llmspec.shelf_s3 import S3Shelf  # only now: a store in a folder needs none of it

    return S3Shelf.at(address, coming)


def _same(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256


def sha256_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> Iterator[str]:
    """Every file's path inside the folder, in order, but for the manifest."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(folder).as_posix()


def partial(output: Path) -> Path:
    """Where an artifact grows. Kept over a crash, so that training can go on from its checkpoint."""
    return output.with_name(output.name + PARTIAL)


def complete(grown: Path, output: Path, manifest: str) -> None:
    """Give the partial folder its manifest and its name. The name is what counts: a manifest that a kill cut short is written
    again, while a file that grew beside it would stay, and be taken for a part of the artifact."""
    _write(grown / MANIFEST, manifest)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(output)
    grown.replace(output)


def write_atomically(path: Path, text: str, mode: int | None = None) -> None:
    """All of it or nothing, also when power goes. With a mode, nobody else ever sees more than that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    _write(beside, text, mode)
    beside.replace(path)


def _write(path: Path, text: str, mode: int | None = None) -> None:
    """As far as the disk."""
    with path.open("w", encoding="utf-8") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
