"""One at a time: a lock that dies with its holder."""

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from llmspec.errors import LockedError, StoreError

LOCK = ".lock"
"""The file that a product's writer holds."""
Waiting = Callable[[str], None]
"""Called once with the holder's name, when there is one to be waited for."""

_held: dict[Path, int] = {}


def holder(path: Path) -> str:
    """Who wrote its name into the lock: 'ana@laptop, process 41, since 14:02:11'."""
    try:
        return named(path.read_text(encoding="utf-8"))
    except OSError:
        return "another process"


def named(text: str) -> str:
    """Whose signature this is."""
    try:
        who = json.loads(text)
        return f"{who['user']}@{who['host']}, process {who['pid']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def signature() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"user": user(), "host": socket.gethostname(), "pid": os.getpid(), "since": now})


def user() -> str:
    """Who runs this; a container may have no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def locked(
    path: Path,
    doing: str,
    *,
    wait: float = 0.0,
    waiting: Waiting = lambda _: None,
    elsewhere: str = "name another folder in LLMSPEC_HOME",
) -> Iterator[None]:
    """Hold the lock, again from the same process if need be. The kernel lets go of it when the holder dies, however it dies.

    `doing` says what a holder does, `shop is being applied`, and `elsewhere` how another folder is chosen: both are for errors."""
    path = path.absolute()
    if path in _held:
        _held[path] += 1
        try:
            yield
        finally:
            _held[path] -= 1
        return
    with _acquired(path, doing, wait, waiting, elsewhere) as file:
        file.truncate(0)
        file.write(signature())
        file.flush()
        _held[path] = 1
        try:
            yield
        finally:
            del _held[path]


@contextmanager
def _acquired(path: Path, doing: str, wait: float, waiting: Waiting, elsewhere: str) -> Iterator[TextIO]:
    """The lock's file, held. Where the last holder removed it (`destroy` does), what was waited for locks nothing any more."""
    while True:
        with _opened(path, elsewhere) as file:
            _acquire(file.fileno(), path, doing, wait, waiting)
            if _stands(file, path):
                yield file
                return


def _stands(file: TextIO, path: Path) -> bool:
    """Whether others who open this path come to this file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def held(path: Path) -> bool:
    """Whether a process lives that has this lock."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _opened(path: Path, elsewhere: str) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write to {path.parent}: {error.strerror}\n  free or mount it, or {elsewhere}") from error


def _acquire(descriptor: int, path: Path, doing: str, wait: float, waiting: Waiting) -> None:
    until, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LockedError(f"{doing} by {holder(path)}\n  wait for it, or end that process") from None
            if not said:
                waiting(holder(path))
                said = True
            time.sleep(0.2)
