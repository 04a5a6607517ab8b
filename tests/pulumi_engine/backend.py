"""Where checkpoints lie: `file://folder` or `s3://bucket/prefix`, laid out as Pulumi's own backends of that kind."""

import getpass
import json
import os
import socket
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pulumi_engine.asking import Bucket, MissingBucketError
from pulumi_engine.errors import CommandFailedError


class Files(Protocol):
    url: str

    def read(self, name: str) -> str | None: ...
    def write(self, name: str, text: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def names(self, prefix: str) -> list[str]: ...


class Folder:
    def __init__(self, url: str) -> None:
        self.url, self.path = url, Path(url.removeprefix("file://"))
        if not self.path.is_dir():
            raise CommandFailedError(f"unable to open bucket {url}: stat {self.path}: no such file or directory")

    def read(self, name: str) -> str | None:
        file = self.path / name
        return file.read_text(encoding="utf-8") if file.exists() else None

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.tmp{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        folder = self.path / prefix
        return sorted(str(file.relative_to(self.path)) for file in folder.rglob("*.json")) if folder.is_dir() else []


class Objects:
    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlparse(url)
        self.url, self.prefix = url, parts.path.strip("/")
        self.bucket = Bucket(parts.netloc, urllib.parse.parse_qs(parts.query).get("region", ["us-east-1"])[0])

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def read(self, name: str) -> str | None:
        try:
            content = self.bucket.get(self._key(name))
        except MissingBucketError as error:
            raise CommandFailedError(f"unable to open bucket {self.url}: {error}") from error
        return None if content is None else content.decode()

    def write(self, name: str, text: str) -> None:
        self.bucket.put(self._key(name), text.encode())

    def remove(self, name: str) -> None:
        self.bucket.delete(self._key(name))

    def names(self, prefix: str) -> list[str]:
        return [key.removeprefix(f"{self.prefix}/") for key in self.bucket.keys(self._key(prefix))]


def files() -> Files:
    url = os.environ.get("PULUMI_BACKEND_URL", "")
    if url.startswith("file://"):
        return Folder(url)
    if url.startswith("s3://"):
        return Objects(url)
    raise CommandFailedError("PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions")


class Stack:
    """One stack's checkpoint, lock and history."""

    def __init__(self, at: Files, project: str, name: str) -> None:
        self.at, self.project, self.name = at, project, name.split("/")[-1]

    @property
    def _file(self) -> str:
        return f".pulumi/stacks/{self.project}/{self.name}.json"

    @property
    def _locks(self) -> str:
        return f".pulumi/locks/organization/{self.project}/{self.name}"

    @property
    def _history(self) -> str:
        return f".pulumi/history/{self.project}/{self.name}"

    def load(self) -> dict[str, Any]:
        text = self.at.read(self._file)
        if text is None:
            raise CommandFailedError(f"no stack named '{self.name}' found")
        latest: dict[str, Any] = json.loads(text)["checkpoint"]["latest"]
        return latest

    def exists(self) -> bool:
        return self.at.read(self._file) is not None

    def save(self, latest: dict[str, Any]) -> None:
        checkpoint = {"stack": f"organization/{self.project}/{self.name}", "latest": latest}
        self.at.write(self._file, json.dumps({"version": 3, "checkpoint": checkpoint}, indent=1))

    def remove(self) -> None:
        for name in (self._file, *self.at.names(self._history)):
            self.at.remove(name)

    def locks(self) -> list[str]:
        return self.at.names(self._locks)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The lock outlives a process that is killed, as the real one does."""
        if found := self.locks():
            said = [self._held(lock) for lock in found]
            raise CommandFailedError(
                f"the stack is currently locked by {len(found)} lock(s). Either wait for the other process(es) to end or "
                f"delete the lock file with `pulumi cancel`.\n" + "\n".join(said)
            )
        mine = f"{self._locks}/{uuid.uuid4()}.json"
        who = {"pid": os.getpid(), "username": getpass.getuser(), "hostname": socket.gethostname(), "timestamp": _now()}
        self.at.write(mine, json.dumps(who))
        try:
            yield
        finally:
            self.at.remove(mine)

    def _held(self, lock: str) -> str:
        who = json.loads(self.at.read(lock) or "{}")
        return f"  {self.at.url}/{lock}: created by {who['username']}@{who['hostname']} (pid {who['pid']}) at {who['timestamp']}"

    def history(self) -> list[dict[str, Any]]:
        """The latest first."""
        found = (json.loads(self.at.read(name) or "{}") for name in sorted(self.at.names(self._history), reverse=True))
        return list(found)

    def record(self, kind: str, result: str, changes: dict[str, int]) -> None:
        number = len(self.at.names(self._history)) + 1
        entry = {"kind": kind, "startTime": _now(), "endTime": _now(), "message": "", "environment": {}, "config": {}}
        entry |= {"result": result, "version": number, "resourceChanges": changes}
        self.at.write(f"{self._history}/{number:06d}.history.json", json.dumps(entry))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
