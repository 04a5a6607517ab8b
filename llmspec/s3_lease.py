"""A lock in a bucket: an object that only one can create, and that its holder keeps fresh.

A holder that dies leaves it behind. Whoever comes after on the same machine takes it over at once, because a flock there says
that its holder is gone; on another machine when it was not kept fresh for a minute, by S3's own clock.
"""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from llmspec.errors import GoneError, LockedError, MovedError, StoreError
from llmspec.home import home
from llmspec.job import digest_of
from llmspec.lock import LOCK, Waiting, locked, named, signature
from llmspec.s3 import Bucket, age

LEASE_SECONDS = 60.0
"""How long a dead holder on another machine keeps others out."""
ASK_SECONDS = 1.0

_held: dict[str, int] = {}


@contextmanager
def leased(bucket: Bucket, key: str, doing: str, *, wait: float = 0.0, waiting: Waiting = lambda _: None) -> Iterator[None]:
    """Hold the lock, again from the same process if need be."""
    uri = f"s3://{bucket.name}/{key}"
    if uri in _held:
        _held[uri] += 1
        try:
            yield
        finally:
            _held[uri] -= 1
        return
    product = Path(key).parent.name
    gate = home() / "locks" / digest_of(uri)[:16] / product / LOCK
    with locked(gate, f"{product} is being {doing}", wait=wait, waiting=waiting):
        lease = Lease(bucket, key, doing, _here(gate))
        lease.acquire(wait, waiting)
        _held[uri] = 1
        try:
            with lease.fresh():
                yield
        finally:
            del _held[uri]
            lease.release()
    if lease.lost:
        raise LockedError(f"{uri} was lost to another writer meanwhile\n  what was made is kept; apply again")


class Lease:
    """The object, while it is ours."""

    def __init__(self, bucket: Bucket, key: str, doing: str, here: str):
        self.bucket, self.key, self.doing, self.here = bucket, key, doing, here
        self.token, self.version, self.lost = uuid.uuid4().hex, "", False
        self._signed = json.loads(signature())

    def acquire(self, wait: float, waiting: Waiting) -> None:
        until, said = monotonic() + wait, False
        while not self._take():
            holder = self._holder()
            if monotonic() >= until:
                cure = f"wait for it, or end that process; a dead one is overtaken after {LEASE_SECONDS:.0f} s"
                raise LockedError(f"{Path(self.key).parent.name} is being {self.doing} by {holder}\n  {cure}")
            if not said:
                waiting(holder)
                said = True
            sleep(ASK_SECONDS)

    def _take(self) -> bool:
        """Create it; or take it over from one who is gone."""
        try:
            self.version = self.bucket.put(self.key, self._text(), IfNoneMatch="*")
            return True
        except MovedError:
            pass
        try:
            content, said = self.bucket.get(self.key)
            found = _parsed(content)
            if found.get("token") == self.token:  # our own: the answer to the first try was lost on its way
                self.version = said["ETag"]
                return True
            if found.get("here") != self.here and age(said) <= LEASE_SECONDS:
                return False
            self.version = self.bucket.put(self.key, self._text(), IfMatch=said["ETag"])
            return True
        except (MovedError, GoneError):
            return False

    def _holder(self) -> str:
        try:
            return named(self.bucket.get(self.key)[0].decode(errors="replace"))
        except GoneError:
            return "another process"

    def _text(self) -> bytes:
        # Another mark each time, so that each renewal is another version.
        return json.dumps({**self._signed, "token": self.token, "here": self.here, "mark": uuid.uuid4().hex[:8]}).encode()

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Written again three times per lease, for as long as the block lasts."""
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(over,), daemon=True, name=f"lease of {self.key}")
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _keep(self, over: threading.Event) -> None:
        while not self.lost and not over.wait(LEASE_SECONDS / 3):
            with suppress(StoreError):  # S3 does not answer: the lease outlasts two such tries, and the next may do
                self.renew()

    def renew(self) -> None:
        try:
            self.version = self.bucket.put(self.key, self._text(), IfMatch=self.version)
        except (MovedError, GoneError):
            self._recognise()

    def _recognise(self) -> None:
        """Whether it is still ours after all: the answer to an earlier try may have been lost on its way."""
        try:
            content, said = self.bucket.get(self.key)
        except GoneError:
            self.lost = True
            return
        self.version, self.lost = said["ETag"], _parsed(content).get("token") != self.token

    def release(self) -> None:
        if not self.lost:
            with suppress(MovedError, GoneError):
                self.bucket.ask("delete_object", Key=self.key, IfMatch=self.version)


def _parsed(content: bytes) -> dict[str, str]:
    with suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict):
            return found
    return {}


def _here(gate: Path) -> str:
    """This machine, since it was started, and this very file on it: a copy of the folder elsewhere is somebody else."""
    stat = gate.stat()
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text().strip() if boot.is_file() else f"{uuid.getnode():x}"
    return f"{machine}:{stat.st_dev}:{stat.st_ino}"
