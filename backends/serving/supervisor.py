"""Keeps one endpoint alive: `python -m backends.serving.supervisor RUNDIR`.

A small process of its own that owns the listening socket. It restarts a worker that dies (clients wait in the socket's queue
meanwhile), and swaps to another release by starting its worker beside the old one. It is told what to do by
`desired.json` and says what is so in `state.json`; one per folder, by a lock that dies with it.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.serving.sockets import bind, taken, url_of
from backends.serving.worker import LOAD_SECONDS, Worker
from llmspec.errors import PlaceError
from llmspec.release import Release
from llmspec.shelf import write_atomically

TICK = 0.1
LONGEST_WAIT = 30.0
"""Seconds between two attempts to restart a worker that keeps dying; the first attempt is at once."""
STEADY = 30.0
"""Seconds after which a restarted worker is thought well again."""


@dataclass(frozen=True)
class Desired:
    """What was asked for last."""

    request: str
    """Told back in the state when it has been dealt with."""
    release: Release | None
    """None: stop."""
    options: tuple[str, ...]
    """For its worker: where its journal and its keys are."""


class Supervisor:
    """One run folder's."""

    def __init__(self, folder: Path, log: logging.Logger):
        self.folder, self.log = folder, log
        self.worker: Worker | None = None
        self.draining: list[Worker] = []
        self.listener: socket.socket | None = None
        self.address: tuple[str, int] | None = None
        """Host and port as asked for; the port may be 0."""
        self.handled, self.failures, self.retry_at = "", 0, 0.0
        self.stopping = False
        self._last: Desired | None = None
        self._read_last = (0, 0)
        self.state: dict[str, Any] = {"pid": os.getpid(), "restarts": 0, "error": "", "answered": ""}

    async def run(self) -> None:
        """Until told to stop, or until the first release could not be brought up."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self._stop)
        while not self.stopping:
            desired = self._desired()
            if desired and desired.request != self.handled:
                await self._obey(desired)
            elif self.worker and not self._serves(self.worker):
                await self._revive()
            self._reap()
            await asyncio.sleep(0 if self.stopping else TICK)
        await self._end()

    def _stop(self) -> None:
        self.stopping = True

    def _serves(self, worker: Worker) -> bool:
        return worker.alive and self.listener is not None and worker not in self.draining

    def _desired(self) -> Desired | None:
        """Looked at often, read only when it is another file than last time."""
        path = self.folder / "desired.json"
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            found = path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._read_last:
                said = json.loads(path.read_text(encoding="utf-8"))
                release = Release(**said["release"]) if said["release"] else None
                self._last = Desired(said["request"], release, tuple(said["options"]))
                self._read_last = (found.st_ino, found.st_mtime_ns)
        return self._last

    def _say(self, **facts: Any) -> None:
        self.state |= facts
        write_atomically(self.folder / "state.json", json.dumps(self.state, indent=1))

    async def _obey(self, desired: Desired) -> None:
        self.handled = desired.request
        if desired.release is None:
            self.stopping = True
            return
        try:
            await self._swap(desired.release, desired.options)
            self._say(error="", answered=desired.request)
        except (PlaceError, OSError) as error:
            self.log.error("release %d did not come up: %s", desired.release.number, error)
            self.stopping = self.stopping or self.worker is None
            self._say(error=str(error), answered=desired.request)

    async def _swap(self, release: Release, options: tuple[str, ...]) -> None:
        """The new worker loads while the old one answers; only then does the socket change hands."""
        new = Worker(release, options)
        await new.start(self.folder, self.log)
        try:
            await self._unless_told_otherwise(new)
            await self._listen(new, release)
        except BaseException:
            new.kill()
            raise
        old, self.worker, self.failures = self.worker, new, 0
        if old:
            await self._let_go(old, "handover")
        self._serving()

    async def _unless_told_otherwise(self, new: Worker) -> None:
        """Wait for it to load; a later request, or a stop, comes first."""
        loading = asyncio.create_task(new.until("loaded", LOAD_SECONDS))
        while not loading.done():
            await asyncio.wait([loading], timeout=TICK)
            later = self._desired()
            if self.stopping or (later and later.request != self.handled):
                loading.cancel()
                raise PlaceError("another request came before it was loaded")
        loading.result()

    async def _listen(self, new: Worker, release: Release) -> None:
        """The same socket, unless the release wants another address."""
        wanted = (str(release.serving.get("host", "127.0.0.1")), int(release.serving.get("port", 0)))
        if self.listener and wanted == self.address:
            await new.listen(self.listener)
            return
        before = self.listener
        moves = before and wanted[1] == self.port and self.worker
        listener = await self._instead(wanted[0]) if moves else self._bind(*wanted)
        try:
            await new.listen(listener)
        except BaseException:
            listener.close()
            raise
        if before:
            before.close()
        self.listener, self.address = listener, wanted

    async def _instead(self, host: str) -> socket.socket:
        """Another host on the same port. Tried beside the old socket: one that is no address of this machine takes nothing down."""
        assert self.worker
        assert self.listener
        assert self.address
        port = self.port
        try:
            return bind(host, port, patience=0)
        except PlaceError as error:
            if not taken(error):
                raise
        # One of the two is every address of this machine: the kernel wants the old socket gone first.
        await self._let_go(self.worker, "handover")
        self.listener.close()
        self.listener = None
        try:
            return bind(host, port)
        except PlaceError:
            # Clients wait in its queue until the release that was served is up again.
            self.listener = bind(self.address[0], port)
            raise

    def _bind(self, host: str, port: int) -> socket.socket:
        if port:
            return bind(host, port)
        with contextlib.suppress(OSError, ValueError, PlaceError):  # a free port is kept as long as it is free
            return bind(host, int((self.folder / "port").read_text()), patience=0)
        listener = bind(host, 0)
        (self.folder / "port").write_text(str(listener.getsockname()[1]))
        return listener

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1]) if self.listener else 0

    def _serving(self) -> None:
        assert self.worker
        assert self.address
        release = self.worker.release
        self.log.info("release %d is live", release.number)
        certificate = (release.serving.get("tls") or {}).get("certificate", "")
        where = {"host": self.address[0], "port": self.port, "url": url_of(self.address[0], self.port, bool(certificate))}
        facts = {"release": release.number, "content": release.content, "spec": release.spec, "target": release.target}
        facts |= {"certificate": certificate}
        self._say(worker=self.worker.process.pid, since=self.worker.ready_at, **where, **facts)
        for file in self.folder.glob("release-*.json"):
            if file.name != f"release-{release.number}.json":
                file.unlink(missing_ok=True)

    async def _revive(self) -> None:
        """The worker has died: bring it back, at once the first time, then ever more slowly, but for ever."""
        assert self.worker
        dead = self.worker
        if time.time() - dead.ready_at > STEADY and dead.ready_at:
            self.failures = 0
        if time.monotonic() < self.retry_at:
            return
        wait = min(LONGEST_WAIT, 0.5 * 2**self.failures)
        self.failures, self.retry_at = self.failures + 1, time.monotonic() + wait
        self._say(
            error=f"the server process ended ({dead.process.returncode}); starting it again", restarts=self.state["restarts"] + 1
        )
        self.log.error("worker %d ended with %s; starting it again", dead.process.pid, dead.process.returncode)
        try:
            failures = self.failures
            self.worker = None
            await self._swap(dead.release, dead.options)
            self.failures = failures
            self._say(error="")
        except (PlaceError, OSError) as error:
            self.worker = dead
            self.retry_at = time.monotonic() + wait
            self._say(error=f"release {dead.release.number} does not come up again: {error}; next attempt in {wait:g} s")

    async def _let_go(self, worker: Worker, how: str) -> None:
        if worker.alive:
            await worker.leave(how)
            if worker not in self.draining:
                self.draining.append(worker)

    def _reap(self) -> None:
        for worker in self.draining:
            if worker.alive and time.monotonic() > worker.kill_at:
                self.log.warning("worker %d did not drain in time", worker.process.pid)
                worker.kill()
        self.draining = [worker for worker in self.draining if worker.alive]

    async def _end(self) -> None:
        """Everybody finishes what was begun; then nothing is left but the logs."""
        for worker in {self.worker, *self.draining} - {None}:
            assert worker
            await self._let_go(worker, "stop")
        if self.listener:
            self.listener.close()
        while self.draining:
            self._reap()
            await asyncio.sleep(0.02)
        self.log.info("stopped")


def keep_log(folder: Path) -> logging.Logger:
    handler = logging.handlers.RotatingFileHandler(folder / "endpoint.log", maxBytes=10 * 2**20, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("supervisor")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    return log


def alone(folder: Path) -> int | None:
    """The folder's lock, held as long as this process lives; None when another supervisor has it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(10):  # whoever looks whether a supervisor lives holds it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            return lock
        time.sleep(0.05)
    return None


def detach() -> None:
    """Nobody's child, in a session of its own: neither a terminal that closes nor a parent that ends takes it down."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def main() -> None:
    folder = Path(sys.argv[1])
    if "--detach" in sys.argv:
        detach()
    if alone(folder) is None:
        sys.exit(3)
    log = keep_log(folder)
    supervisor = Supervisor(folder, log)
    try:
        asyncio.run(supervisor.run())
    except BaseException:
        log.exception("the supervisor failed")
        raise


if __name__ == "__main__":
    main()
