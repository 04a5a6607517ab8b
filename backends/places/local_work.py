"""The processes that local's jobs run in: each of its own, or forked off one that has loaded their tools already."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmspec.card import Engine
from llmspec.progress import publish

GRACE_SECONDS = 4.0
"""What a child gets to save its checkpoint after it was asked to end."""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Where one of these is, tools may open it as they are loaded, and no fork can use it then."""
_NUMBER = struct.Struct("q")


class Forked:
    """A child of the process that has the tools, with the manners of a Popen."""

    def __init__(self, ahead: socket.socket, paper: Path, env: Mapping[str, str]):
        stdin, ours = os.pipe()
        theirs, stdout = os.pipe()
        self.stdin, self.stdout = os.fdopen(ours, "wb", 0), os.fdopen(theirs, "rb")
        self._ahead = ahead
        said = json.dumps([str(paper), dict(env)]).encode()
        try:
            socket.send_fds(ahead, [_NUMBER.pack(len(said))], [stdin, stdout])
            ahead.sendall(said)
        finally:
            os.close(stdin)
            os.close(stdout)
        self.returncode: int | None = None
        self.pid = self._told(None)

    def _told(self, timeout: float | None) -> int:
        waiting = select.poll()  # and not select(), which knows no file beyond the 1,024th
        waiting.register(self._ahead, select.POLLIN)
        if not waiting.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError
        said = self._ahead.recv(_NUMBER.size)
        if not said:
            raise EOFError
        return int(_NUMBER.unpack(said)[0])

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = self._told(timeout)
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            except (EOFError, ConnectionError):  # whoever would tell is gone: the child goes, too
                self.kill()
                self.returncode = -signal.SIGKILL
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


Child = Forked | subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ahead:
    """A process that has the tools of some works loaded, or is loading them."""

    works: frozenset[str]
    asking: socket.socket


_ahead: Ahead | None = None


@contextmanager
def loading(engines: Sequence[Engine]) -> Iterator[None]:
    """For as long as the block lasts, jobs of these engines are forked off one process, which begins to load their tools now."""
    global _ahead
    modules = dict.fromkeys(module for engine in engines for module in engine.tools)
    if not modules or not forks():
        yield
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "backends.work.ahead", str(theirs.fileno()), *modules],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        _ahead = Ahead(frozenset(engine.work for engine in engines if engine.tools), ours)
        try:
            yield
        finally:
            _ahead = None
            process.kill()
            process.wait()


def forks() -> bool:
    """Whether a process with such tools can be forked here."""
    return sys.platform == "linux" and not any(Path(device).exists() for device in ACCELERATORS)


def start(order: Path, bootstrap: Mapping[str, str], work: str) -> Child:
    """The child has a session of its own, so that Ctrl-C reaches it through us; its stdin tells it when we are gone."""
    env = {**os.environ, **bootstrap, "LLMSPEC_PARENT": "stdin"}
    if _ahead and work in _ahead.works:
        with suppress(EOFError, ConnectionError):  # it was killed: this one loads its tools itself
            return Forked(_ahead.asking, order, env)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "backends.work", str(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
    )


def end(child: Child, stage: str) -> None:
    """Ask, wait, insist. A child that has ended already needs nothing."""
    if child.poll() is None:
        publish(stage, "stopping")
        child.terminate()
        try:
            child.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
