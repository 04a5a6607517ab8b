"""The local endpoint from outside: ask its supervisor for a release, read back what answers, stop it. Light."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from llmspec.client import connection_to
from llmspec.errors import PlaceError
from llmspec.home import access_folder, journal_folder, run_folder
from llmspec.lock import held
from llmspec.release import Live, Release
from llmspec.shelf import write_atomically

LOG = "endpoint.log"
SERVE_SECONDS = 660.0
"""Longer than the supervisor gives a release to load: its word comes first."""
STARTING_SECONDS = 10.0
"""A supervisor takes its lock well within this time, also on a busy machine."""
STOP_SECONDS = 120.0
"""Requests in flight may end in this time; then the supervisor is killed, and its workers with it."""


def serve(release: Release, candidate: bool = False) -> Live:
    """Make it live, unless it is; the release before it answers until then, and stays when this one fails.

    A candidate has a supervisor, a journal and a port of its own, and shares the keys.
    """
    folder = run_folder(release.spec, release.target, candidate)
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder):
        return _serve(folder, replace(release, serving={**release.serving, "port": 0}) if candidate else release, candidate)


def _serve(folder: Path, release: Release, candidate: bool) -> Live:
    before = live(release.spec, release.target, candidate=candidate)
    if before and before.release == release.number and state(folder).get("content") == release.content:
        return before
    request = _ask_for(folder, replace(release, artifact=str(Path(release.artifact).resolve())), candidate)
    _wake(folder)
    said = _answer(folder, request)
    if said["error"]:
        still = live(release.spec, release.target, candidate=candidate)
        kept = f"\n  release {still.release} still serves: {still.url}" if still else ""
        raise PlaceError(f"release {release.number} did not come up: {said['error']}{kept}", log=str(folder / LOG))
    found = live(release.spec, release.target, seconds=10.0, candidate=candidate)
    if found is None or found.release != release.number:
        what = f"release {found.release} answers" if found else "nothing answers"
        raise PlaceError(f"release {release.number} was started, but {what} at {said.get('url')}", log=str(folder / LOG))
    return found


def live(name: str, target: str, seconds: float = 2.0, candidate: bool = False) -> Live | None:
    """What /health says now; None when nothing answers, or somebody else does."""
    folder = run_folder(name, target, candidate)
    known = state(folder)
    if "url" not in known or not supervised(folder):
        return None
    try:
        certificate = known.get("certificate", "")
        # Asked itself: urllib would ask a proxy that the environment names.
        with contextlib.closing(connection_to(known["url"], certificate, seconds)) as connection:
            connection.request("GET", "/health")
            health = json.load(connection.getresponse())
        if (health["spec"], health["target"]) != (name, target):
            return None
        lost = int(health.get("journal_lost", 0))
        return Live(known["url"], health["release"], known["pid"], health["since"], certificate, lost)
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None


def stop(name: str, target: str, candidate: bool = False) -> bool:
    """Drain, then nothing is left running. False when nothing was."""
    folder = run_folder(name, target, candidate)
    if not supervised(folder):
        return False
    pid = state(folder).get("pid")
    _ask_for(folder, None)
    if not _until_gone(folder, STOP_SECONDS) and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _until_gone(folder, 5.0)
    return True


def state(folder: Path) -> dict[str, Any]:
    """What the supervisor said last."""
    return _json(folder / "state.json")


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def supervised(folder: Path) -> bool:
    """Whether a supervisor lives: it holds the lock as long as it does."""
    return held(folder / "lock")


def _ask_for(folder: Path, release: Release | None, candidate: bool = False) -> str:
    request = uuid.uuid4().hex
    options = []
    if release:
        options += ["--journal", str(journal_folder(release.spec, release.target, candidate).resolve())]
        options += ["--access", str(access_folder(release.spec, release.target).resolve())]
        options += ["--candidate"] if candidate else []
    desired = {"request": request, "release": asdict(release) if release else None, "options": options}
    write_atomically(folder / "desired.json", json.dumps(desired, indent=1))
    return request


def _wake(folder: Path) -> None:
    """Start a supervisor unless one lives. It detaches itself: nobody has to wait for it."""
    if supervised(folder):
        return
    (folder / "state.json").unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "backends.serving.supervisor", str(folder.resolve()), "--detach"]
    with (folder / "supervisor.err").open("wb") as errors:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, check=False)


def _answer(folder: Path, request: str) -> dict[str, Any]:
    """The state once this request was dealt with."""
    until, missing_since = time.monotonic() + SERVE_SECONDS, 0.0
    while (now := time.monotonic()) < until:
        said = state(folder)
        if said.get("answered") == request:
            return said
        if _json(folder / "desired.json").get("request") != request:
            raise PlaceError("it was told to stop before the release was up", log=str(folder / LOG))
        if supervised(folder):
            missing_since = 0.0
        elif not missing_since:
            missing_since = now
        elif now - missing_since > STARTING_SECONDS:
            break
        elif now - missing_since > STARTING_SECONDS / 2:
            _wake(folder)  # the one that lived when we asked was just ending
        time.sleep(0.05)
    errors = folder / "supervisor.err"
    last = errors.read_text(errors="replace").strip().splitlines()[-1:] if errors.exists() else []
    raise PlaceError("; ".join(["the supervisor gave no answer", *last]), log=str(folder / LOG))


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One asks at a time; the next finds what the first one brought up."""
    with (folder / "asking").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _until_gone(folder: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while supervised(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
