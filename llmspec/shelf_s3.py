"""A shelf in S3. An object is written whole or not at all, so a manifest that is there vouches for the files before it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llmspec import s3_files
from llmspec.errors import MovedError
from llmspec.lock import LOCK, Waiting
from llmspec.s3 import Bucket
from llmspec.s3_lease import leased
from llmspec.shelf import ABSENT, DAMAGED, MANIFEST, S3, File, Shelf


@dataclass(frozen=True)
class S3Shelf(Shelf):
    """Objects whose keys begin alike."""

    bucket: Bucket
    prefix: str
    """With its last '/', or empty for the whole bucket."""

    @classmethod
    def at(cls, address: str, coming: bool = False) -> "S3Shelf":
        bucket, _, prefix = address.removeprefix(S3).partition("/")
        prefix = prefix.strip("/")
        return cls(Bucket(bucket, coming), f"{prefix}/" if prefix else "")

    @property
    def uri(self) -> str:
        return f"{S3}{self.bucket.name}/{self.prefix}".rstrip("/")

    def below(self, name: str) -> "S3Shelf":
        return S3Shelf(self.bucket, f"{self.prefix}{name}/")

    def look(self, name: str) -> tuple[str | None, str]:
        found = self.bucket.look(self.prefix + name)
        return (found[0].decode(), found[1]) if found else (None, ABSENT)

    def write(self, name: str, text: str, over: str | None = None) -> None:
        key, conditions = self.prefix + name, {}
        if over is not None:
            conditions = {"IfNoneMatch": "*"} if over == ABSENT else {"IfMatch": over}
        try:
            self.bucket.put(key, text.encode(), **conditions)
        except MovedError:
            if self.read(name) != text:  # else it was us: the answer to our first try was lost on its way
                raise

    def content(self, name: str) -> bytes:
        return self.bucket.get(self.prefix + name)[0]

    def remove(self, name: str) -> None:
        self.bucket.remove([self.prefix + name])

    def read_all(self, names: Iterable[str]) -> list[str]:
        return [text for text in self.bucket.abreast(self.read, names) if text is not None]

    def sizes(self) -> dict[str, int]:
        return {key.removeprefix(self.prefix): size for key, size in self.bucket.sizes(self.prefix).items()}

    def held(self) -> bool:
        return bool(self.bucket.sizes(self.prefix))

    def damaged(self, files: Mapping[str, File]) -> list[str]:
        """By size, and by the SHA-256 that S3 keeps of what came in one piece. Files in parts are hashed where they are used."""

        def same(item: tuple[str, File]) -> bool:
            name, file = item
            found = s3_files.stored(self.bucket, self.prefix + name)
            if found is None or found[0] != file.bytes:
                return False
            return not found[1] or file.bytes > s3_files.PART or found[1] == s3_files.b64(file.sha256)

        return [name for name, right in zip(files, self.bucket.abreast(same, files.items()), strict=True) if not right]

    def put(self, source: Path, files: Mapping[str, File], manifest: str) -> None:
        self._become(files, manifest, lambda: s3_files.send(self.bucket, self.prefix, source, files))

    def take(self, source: "S3Shelf", files: Mapping[str, File], manifest: str) -> None:
        """What lies on another shelf of this bucket becomes the artifact here, every file compared with its hash."""
        assert source.bucket.name == self.bucket.name
        self._become(files, manifest, lambda: s3_files.copy(self.bucket, source.prefix, self.prefix, files))

    def _become(self, files: Mapping[str, File], manifest: str, bring: Callable[[], object]) -> None:
        self.bucket.forget()
        before = self.sizes()
        if MANIFEST in before and self.read(MANIFEST) != manifest:
            self.remove(MANIFEST)  # what it vouches for is about to change
        bring()
        self.bucket.remove(self.prefix + name for name in before if name not in files and name != MANIFEST)
        self.write(MANIFEST, manifest)

    def fetch(self, files: Mapping[str, File], target: Path) -> None:
        s3_files.fetch(self.bucket, self.prefix, files, target)

    def set_aside(self) -> None:
        """Its manifest goes first: whatever comes between, it counts as never made."""
        names, manifest = self.sizes(), self.read(MANIFEST)
        self.remove(MANIFEST)
        aside = S3Shelf(self.bucket, self.prefix.rstrip("/") + DAMAGED + "/")
        aside.clear()
        s3_files.move(self.bucket, {self.prefix + name: aside.prefix + name for name in names if name != MANIFEST})
        if manifest is not None:
            aside.write(MANIFEST, manifest)

    def clear(self) -> None:
        """Manifests first, so that at no moment half an artifact counts as one. A lock stays: it belongs to its holder."""
        keys = [key for key in self.bucket.sizes(self.prefix) if not key.endswith(LOCK)]
        manifests = [key for key in keys if key.endswith(f"/{MANIFEST}")]
        self.bucket.remove(manifests)
        self.bucket.remove(key for key in keys if key not in set(manifests))

    def stands(self) -> bool:
        return self.bucket.stands(self.prefix + MANIFEST)

    def writable(self) -> None:
        self.write(".write", "llmspec")
        self.remove(".write")

    def lock(
        self, name: str, *, doing: str = "applied", wait: float = 0.0, waiting: Waiting = lambda _: None
    ) -> AbstractContextManager[None]:
        return leased(self.bucket, self.prefix + name, doing, wait=wait, waiting=waiting)

    def steady(self) -> AbstractContextManager[None]:
        return self.bucket.steady()

    def ahead(self, files: Iterable[str], shelves: Iterable[str]) -> None:
        asks: list[Callable[[], object]] = [partial(self.read, name) for name in files]
        asks += [partial(self.bucket.sizes, f"{self.prefix}{name}/") for name in shelves]
        self.bucket.abreast(lambda ask: ask(), asks)
