"""What a job reads from S3 where no platform laid it out: its inputs, and the sources of a data job."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llmspec import s3_files
from llmspec.errors import PlaceError, StoreError
from llmspec.home import root
from llmspec.job import Digest
from llmspec.shelf import S3, File, sha256_of, shelf_at
from llmspec.shelf_s3 import S3Shelf

AHEAD = 2**16
"""Bytes that are asked for at once where only a file's head, or its foot, is read."""


def there(uri: str) -> bool:
    return uri.startswith(S3)


def text_at(uri: str) -> str | None:
    """A small file; None when there is none."""
    folder, _, name = uri.rpartition("/")
    return shelf_at(folder, root()).read(name)


def holds(uri: str) -> bool:
    return shelf_at(uri, root()).held()


def bring(uri: str, folder: Path) -> None:
    """Everything below the address; the folder has its name once it holds all. Whoever reads it looks at the bytes."""
    shelf = shelf_at(uri, root())
    if not (sizes := shelf.sizes()):
        raise PlaceError(f"{uri}: there is nothing\n  apply again, which hands it over")
    coming = folder.with_name(f"{folder.name}.coming")
    shutil.rmtree(coming, ignore_errors=True)
    shelf.fetch({name: File("", size) for name, size in sizes.items()}, coming)
    coming.replace(folder)


def fault(uri: str, digest: Digest) -> str:
    """What is wrong with a file in S3, by what S3 keeps of it; empty when nothing is. Large ones are hashed where they are read."""
    folder, _, name = uri.rpartition("/")
    shelf = S3Shelf.at(folder)
    found = s3_files.stored(shelf.bucket, shelf.prefix + name)
    if found is None:
        return f"{uri} is missing"
    size, kept = found
    if kept and size <= s3_files.PART and kept != s3_files.b64(digest):
        return f"{uri} is not the file that the job was planned with"
    return ""


@contextmanager
def near(uri: str, digest: Digest) -> Iterator[str]:
    """The file on this machine, to the byte, for as long as the block lasts. OSError when it cannot be had."""
    folder, _, name = uri.rpartition("/")
    shelf = S3Shelf.at(folder)
    with tempfile.TemporaryDirectory(prefix="llmspec-") as room:
        target = Path(room) / name
        try:
            found = s3_files.stored(shelf.bucket, shelf.prefix + name)
            if found:
                shelf.fetch({name: File(digest, found[0])}, target.parent)
        except StoreError as error:
            raise OSError(str(error)) from error
        if not found or sha256_of(target) != digest:
            raise OSError(f"{uri} is not the file that the job was planned with" if found else f"{uri} is missing")
        yield str(target)


class _Ranges(io.RawIOBase):
    """A file in S3, of which only what is read is asked for."""

    def __init__(self, uri: str):
        folder, _, name = uri.rpartition("/")
        shelf = S3Shelf.at(folder)
        self._bucket, self._key, self._at = shelf.bucket, shelf.prefix + name, 0
        found = s3_files.stored(self._bucket, self._key)
        if found is None:
            raise FileNotFoundError(f"{uri} is missing")
        self._size = found[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        last = min(self._at + len(buffer), self._size) - 1
        if last < self._at:
            return 0
        content, _ = self._bucket.get(self._key, Range=f"bytes={self._at}-{last}")
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def opened(path: str) -> BinaryIO:
    """A file here or in S3, to look into."""
    return io.BufferedReader(_Ranges(path), AHEAD) if there(path) else Path(path).open("rb")
