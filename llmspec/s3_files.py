"""Files of an artifact to and from a bucket: large ones in parts, several parts at once, nothing sent twice.

S3 keeps the SHA-256 of what it was sent: of a file, or of each part and, as their sum, of the parts' hashes. So what is there
already is recognised by its bytes, after a crash too, and a part that arrives torn is refused by S3 itself.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.errors import DamagedError, GoneError
from llmspec.job import Digest
from llmspec.s3 import Bucket
from llmspec.shelf import File

MIB = 2**20
PART = 8 * MIB
"""Larger files go in parts. S3 allows 10,000 of them, so the parts of very large files are larger."""
MOST_PARTS = 9_000
MOST_AT_ONCE = 5 * 1024 * MIB
"""The largest file that S3 copies in one call."""


@dataclass(frozen=True)
class Part:
    """A piece of a file."""

    path: Path
    number: int
    """From 1, as S3 counts."""
    start: int
    length: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


def part_bytes(size: int) -> int:
    """How long the parts of a file of this size are."""
    return max(PART, -(-size // MOST_PARTS // MIB) * MIB)


def parts_of(path: Path, size: int) -> list[Part]:
    step = part_bytes(size)
    return [Part(path, number, start, min(step, size - start)) for number, start in enumerate(range(0, size, step), 1)]


def send(bucket: Bucket, prefix: str, source: Path, files: Mapping[str, File]) -> int:
    """Every file that is not there yet; how many bytes were sent."""
    small = [name for name, file in files.items() if file.bytes <= PART]
    sent = sum(bucket.abreast(lambda name: _send_small(bucket, prefix + name, source / name, files[name]), small))
    return sent + sum(_send_large(bucket, prefix + name, source / name, file) for name, file in files.items() if name not in small)


def _send_small(bucket: Bucket, key: str, path: Path, file: File) -> int:
    if stored(bucket, key) == (file.bytes, b64(file.sha256)):
        return 0
    checked = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": b64(file.sha256)}
    bucket.ask("put_object", Key=key, Body=path.read_bytes(), **checked)
    return file.bytes


def _send_large(bucket: Bucket, key: str, path: Path, file: File) -> int:
    """In parts. An upload that was cut off is gone on with: its parts are known by their hashes."""
    parts = parts_of(path, file.bytes)
    hashes = bucket.abreast(lambda part: hashlib.sha256(part.read()), parts)
    if stored(bucket, key) == (file.bytes, b64(hashlib.sha256(b"".join(one.digest() for one in hashes)).hexdigest())):
        return 0
    upload = _begun(bucket, key)
    there = _parts_there(bucket, key, upload)

    def send_part(part: Part) -> tuple[dict[str, Any], int]:
        checksum, known = b64(hashes[part.number - 1].hexdigest()), there.get(part.number, {})
        told = {"PartNumber": part.number, "ChecksumSHA256": checksum}
        if known.get("Size") == part.length and _is(known, checksum, part):
            return told | {"ETag": known["ETag"]}, 0
        which = {"Key": key, "UploadId": upload, **told}
        said = bucket.ask("upload_part", Body=part.read(), ChecksumAlgorithm="SHA256", **which)
        return told | {"ETag": said["ETag"]}, part.length

    done = bucket.abreast(send_part, parts)
    bucket.ask("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": [told for told, _ in done]})
    return sum(sent for _, sent in done)


def _is(known: dict[str, Any], checksum: str, part: Part) -> bool:
    """By SHA-256, as AWS tells it; where a server of somebody else's tells none, by the MD5 in its tag."""
    if "ChecksumSHA256" in known:
        return bool(known["ChecksumSHA256"] == checksum)
    return bool(known["ETag"].strip('"') == hashlib.md5(part.read(), usedforsecurity=False).hexdigest())


def stored(bucket: Bucket, key: str) -> tuple[int, str] | None:
    """Size and SHA-256 of an object, as S3 keeps them; of one in parts, the SHA-256 of its parts' hashes."""
    try:
        said = bucket.ask("head_object", Key=key, ChecksumMode="ENABLED")
    except GoneError:
        return None
    return said["ContentLength"], said.get("ChecksumSHA256", "").partition("-")[0]


def _begun(bucket: Bucket, key: str) -> str:
    """The upload of this file that was cut off, or a new one. Others of it are ended: what they hold costs money, unseen."""
    said = bucket.ask("list_multipart_uploads", Prefix=key)
    found = [item for item in said.get("Uploads", []) if item["Key"] == key]
    ours = [item["UploadId"] for item in found if item.get("ChecksumAlgorithm") == "SHA256"]
    for item in found:
        if item["UploadId"] not in ours[-1:]:
            with suppress(GoneError):
                bucket.ask("abort_multipart_upload", Key=key, UploadId=item["UploadId"])
    if ours:
        return str(ours[-1])
    return str(bucket.ask("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")["UploadId"])


def _parts_there(bucket: Bucket, key: str, upload: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    marker = 0
    while True:
        said = bucket.ask("list_parts", Key=key, UploadId=upload, PartNumberMarker=marker)
        found |= {part["PartNumber"]: part for part in said.get("Parts", [])}
        if not said["IsTruncated"]:
            return found
        marker = said["NextPartNumberMarker"]


def fetch(bucket: Bucket, prefix: str, files: Mapping[str, File], target: Path) -> None:
    """Every file into a folder, large ones in pieces, several at once. Whoever asked looks at the bytes."""
    pieces = [(name, piece) for name, file in files.items() for piece in _prepared(target / name, file.bytes)]

    def bring(item: tuple[str, Part]) -> None:
        name, piece = item
        content, _ = bucket.get(prefix + name, Range=f"bytes={piece.start}-{piece.start + piece.length - 1}")
        with piece.path.open("r+b") as file:
            file.seek(piece.start)
            file.write(content)

    bucket.abreast(bring, pieces)


def _prepared(path: Path, size: int) -> Iterator[Part]:
    """A file of that size, still empty, and the pieces to fill it with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.ftruncate(file.fileno(), size)
    yield from parts_of(path, size)


def copy(bucket: Bucket, source: str, target: str, files: Mapping[str, File]) -> None:
    """Files to another prefix of the same bucket, without leaving S3, which hashes them on the way: DamagedError for those that are
    not what they should be. What is larger than S3 copies at once has no such hash, and only its size is looked at."""

    def one(name: str) -> str:
        file, right = files[name], (files[name].bytes, b64(files[name].sha256))
        if stored(bucket, target + name) == right:
            return ""
        told = {"Key": target + name, "CopySource": {"Bucket": bucket.name, "Key": source + name}}
        if file.bytes > MOST_AT_ONCE:
            bucket.ask("copy", **told)
            found = stored(bucket, target + name)
            return "" if found and found[0] == file.bytes else name
        bucket.ask("copy_object", **told, ChecksumAlgorithm="SHA256")
        return "" if stored(bucket, target + name) == right else name

    wrong = [name for name in bucket.abreast(one, files) if name]
    if wrong:
        bucket.remove(target + name for name in wrong)
        raise DamagedError(f"s3://{bucket.name}/{source}: {', '.join(wrong)}: not as the manifest says")


def move(bucket: Bucket, keys: Mapping[str, str]) -> None:
    """Objects to other keys of the same bucket; the bytes do not leave S3."""
    for key, to in keys.items():
        bucket.ask("copy", Key=to, CopySource={"Bucket": bucket.name, "Key": key})
    bucket.remove(keys)


def b64(sha256: Digest) -> str:
    """A hash as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()
