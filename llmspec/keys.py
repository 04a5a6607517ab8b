"""The keys of an endpoint: made, listed, revoked. Only hashes are kept.

A key holds 256 random bits. Nobody can try them all, so a plain SHA-256 hides it as well as a slow password hash would, and
a request need not wait for one. The file is replaced whole, under a lock; the lock's file stays for ever, and says that keys
were made once: without the file of keys nobody is let in then.
"""

import fcntl
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from llmspec.audit import Trail
from llmspec.errors import CallError, StoreError
from llmspec.shelf import write_atomically

FILE, LOCK = "keys.json", "keys.lock"
PREFIX = "llms"
OURS_ONLY = 0o600


@dataclass(frozen=True)
class Key:
    """One key, without its secret."""

    id: str
    """Public: it stands in the key, in lists and in the trail."""
    name: str
    role: str
    sha256: str
    """Of the whole key."""
    made_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def state(self, now: float) -> str:
        """good, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "good"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def id_of(key: str) -> str:
    """The public part of a key; empty when it is none of ours."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""


@dataclass(frozen=True)
class Keys:
    """The keys of one product at one target."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def configured(self) -> bool:
        """Whether a key was ever made. A folder that cannot be looked into counts as yes."""
        try:
            return any(name.exists() for name in (self.path, self.folder / LOCK))
        except OSError:
            return True

    def all(self) -> list[Key]:
        """The oldest first; StoreError when the file is not as it was written."""
        try:
            return [Key(**item) for item in json.loads(self.path.read_text(encoding="utf-8"))["keys"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            fault = f"{self.path} cannot be read ({type(error).__name__}): nobody is let in"
            raise StoreError(f"{fault}\n  repair it from a backup, or remove it and make new keys") from error

    def create(self, name: str, role: str, expires: float | None = None) -> tuple[Key, str]:
        """A new key, and its text, which is known now and never again. `expires`: seconds from now."""
        now = time.time()
        id = secrets.token_hex(4)
        text = f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"
        key = Key(id, name, role, hashed(text), round(now, 3), expires_at=round(now + expires, 3) if expires else None)
        with self._changing(lambda keys: [*keys, key]):
            Trail(self.folder).add("key created", key=id, name=name, role=role, expires_at=key.expires_at)
        return key, text

    def revoke(self, id: str) -> Key:
        """It is refused from the next request on. It stays in the list, so that the trail can be read."""
        found = next((key for key in self.all() if key.id == id), None)
        if found is None:
            known = ", ".join(key.id for key in self.all() if key.revoked_at is None)
            raise CallError(f"no key '{id}'" + (f" (known: {known})" if known else ": none was made"))
        if found.revoked_at is not None:
            return found
        gone = replace(found, revoked_at=round(time.time(), 3))
        with self._changing(lambda keys: [gone if key.id == id else key for key in keys]):
            Trail(self.folder).add("key revoked", key=id, name=found.name, role=found.role)
        return gone

    @contextmanager
    def _changing(self, change: Callable[[list[Key]], list[Key]]) -> Iterator[None]:
        """What is done inside is on the trail before the change is real: nothing happens unrecorded."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = change(self.all())
            yield
            text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1, ensure_ascii=False)
            write_atomically(self.path, text + "\n", OURS_ONLY)
