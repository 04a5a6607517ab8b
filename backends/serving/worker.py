"""One worker process as its supervisor sees it: started, loaded, listening, draining, gone."""

import asyncio
import json
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from llmspec.errors import PlaceError
from llmspec.release import Release

LOAD_SECONDS = 600.0
"""A worker that has not loaded its release by then is given up."""


class Worker:
    """A child process and the line to it."""

    def __init__(self, release: Release, options: tuple[str, ...]):
        self.release, self.options = release, options
        self.heard: dict[str, object] = {}
        """The last thing it said of each kind: loaded, ready, draining, error."""
        self.kill_at = float("inf")
        self.ready_at = 0.0

    async def start(self, folder: Path, log: logging.Logger) -> None:
        file = folder / f"release-{self.release.number}.json"
        file.write_text(self.release.to_json(), encoding="utf-8")
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        command = [sys.executable, "-P", "-m", "backends.serving", "--release", str(file), "--control", str(theirs.fileno())]
        command += self.options
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"},
            )
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._keep_log(log))]

    async def _hear(self) -> None:
        rest = b""
        with suppress(OSError):
            while data := await asyncio.get_running_loop().sock_recv(self._line, 4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.heard |= json.loads(line)
        self._line.close()

    async def _keep_log(self, log: logging.Logger) -> None:
        assert self.process.stdout
        while chunk := await self.process.stdout.read(65536):
            for line in chunk.decode(errors="replace").splitlines():
                log.info("[%d] %s", self.process.pid, line)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def until(self, word: str, seconds: float) -> None:
        """Wait for it to say this; PlaceError when it dies or takes too long instead."""
        limit = time.monotonic() + seconds
        while word not in self.heard:
            if not self.alive:
                await asyncio.wait(self._tasks, timeout=1)
                raise PlaceError(
                    str(self.heard.get("error") or f"the server process ended with {_ending(self.process.returncode)}")
                )
            if time.monotonic() > limit:
                raise PlaceError(f"the server process was not {word} within {seconds:g} s")
            await asyncio.sleep(0.02)

    async def listen(self, listener: socket.socket) -> None:
        """Give it the listening socket."""
        socket.send_fds(self._line, [b'{"do": "listen"}\n'], [listener.fileno()])
        await self.until("ready", 30.0)
        self.ready_at = time.time()

    async def leave(self, how: str) -> None:
        """`handover` or `stop`; returns once it accepts no new connection."""
        with suppress(OSError):
            self._line.send(json.dumps({"do": how}).encode() + b"\n")
        with suppress(PlaceError):  # one that dies instead accepts nothing either
            await self.until("draining", 5.0)
        patience = self.heard.get("draining")
        self.kill_at = time.monotonic() + (patience + 5.0 if isinstance(patience, float) else 0.0)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
