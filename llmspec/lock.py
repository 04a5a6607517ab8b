"""One apply at a time per product: a lock that dies with its holder."""

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
def locked(path: Path, *, wait: float = 0.0, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock, again from the same process if need be. The kernel lets go of it when the holder dies, however it dies."""
    path = path.absolute()
    if path in _held:
        _held[path] += 1
        try:
            yield
        finally:
            _held[path] -= 1
        return
    with _opened(path) as file:
        _acquire(file.fileno(), path, wait, waiting)
        file.truncate(0)
        file.write(signature())
        file.flush()
        _held[path] = 1
        try:
            yield
        finally:
            del _held[path]


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        fault = f"cannot write to the store {path.parent.parent}: {error.strerror}"
        raise StoreError(f"{fault}\n  free or mount it, or name another `store:`") from error


def _acquire(descriptor: int, path: Path, wait: float, waiting: Callable[[str], None]) -> None:
    until, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LockedError(
                    f"{path.parent.name} is being applied by {holder(path)}\n  wait for it, or end that process"
                ) from None
            if not said:
                waiting(holder(path))
                said = True
            time.sleep(0.2)
