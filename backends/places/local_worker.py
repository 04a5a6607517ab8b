"""A release in a worker of its own, without a supervisor, for as long as somebody needs it. Light."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmspec.errors import PlaceError
from llmspec.home import run_folder
from llmspec.release import Release

LOAD_SECONDS, STOP_SECONDS = 600.0, 10.0


@contextlib.contextmanager
def apart(release: Release) -> Iterator[str]:
    """Its URL. Nothing is journaled, and it ends with this process, however that ends: the line between them breaks."""
    log = run_folder(release.spec, release.target) / "apart.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    with ours, socket.create_server(("127.0.0.1", 0), backlog=512) as listener, tempfile.NamedTemporaryFile("w") as file:
        file.write(_alone(release).to_json())
        file.flush()
        worker = _start(file.name, theirs, log)
        try:
            _come_up(ours, listener, log)
            file.close()
            yield "http://{}:{}".format(*listener.getsockname())
            with contextlib.suppress(OSError):
                ours.sendall(b'{"do": "stop"}\n')
            worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # it is ended below
        finally:
            worker.kill()
            worker.wait()


def _alone(release: Release) -> Release:
    """On loopback, so it needs no certificate, and in nobody's way, so it is held to no pace."""
    limits = {**release.serving.get("limits", {}), "requests_per_minute": None, "tokens_per_minute": None}
    serving = release.serving | {"host": "127.0.0.1", "port": 0, "tls": None, "limits": limits}
    return replace(release, artifact=str(Path(release.artifact).resolve()), serving=serving)


def _start(release: str, theirs: socket.socket, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "backends.serving", "--release", release, "--control", str(theirs.fileno())]
    with theirs, log.open("wb") as said:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[theirs.fileno()])


def _come_up(line: socket.socket, listener: socket.socket, log: Path) -> None:
    """It loads, gets the socket, and answers."""
    line.settimeout(LOAD_SECONDS)
    with line.makefile("r", encoding="utf-8") as said:
        _until("loaded", said, log)
        socket.send_fds(line, [b'{"do": "listen"}\n'], [listener.fileno()])
        _until("ready", said, log)


def _until(word: str, said: Any, log: Path) -> None:
    fault = "its process ended"
    with contextlib.suppress(OSError):
        for line in said:
            heard = json.loads(line)
            if word in heard:
                return
            fault = str(heard.get("error", fault))
    raise PlaceError(f"the release did not come up: {fault}", str(log))
