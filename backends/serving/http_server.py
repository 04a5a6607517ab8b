"""uvicorn, with an end that no client notices: the old worker leaves while the new one already answers."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.types import Receive, Scope, Send

from backends.serving.control import Line
from backends.serving.heads import Headed
from backends.serving.sockets import BACKLOG, allow_files
from llmspec import tls
from llmspec.spec.endpoint import Endpoint, Tls

log = logging.getLogger("llmspec")

LINGER_SECONDS = 6.0
"""How long an idle connection is kept while handing over. Clients drop their own idle connections after 5 s (httpx, openai),
so that none of them sends a request into a connection that is just being closed."""
KEEP_ALIVE_SECONDS = 75
"""Likewise in normal times: longer than clients keep theirs."""

HEAD_SECONDS = 30.0
"""A request whose head takes longer to arrive is not waited for, nor is the first one of a connection."""
CROWDED_SECONDS = 1.0
"""Likewise when three quarters of the open files are connections; then for resting ones, too."""
UNREAD_SECONDS = 5.0
"""Whoever takes nothing of an answer for so long is dropped in such a crowd; else, whoever takes nothing for `limits.timeout`."""
HANDSHAKE_SECONDS = 10.0
"""Until encryption is agreed on; uvicorn would leave it at a minute. Such a connection is not among those that make a crowd yet."""
ACKNOWLEDGED = 120
"""Where the bytes that the other side has acknowledged begin in Linux's TCP_INFO."""
RENEW_SECONDS = 2.0
"""How often the certificate's files are looked at."""


class Closing(Protocol):
    """An application that can tell its clients that this server is about to go."""

    closing: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Door(socket.socket):
    """Lets many queue. asyncio, which is told of one, takes one at a time: it would try as often as many may queue, also where no
    file is left, and log each."""

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(BACKLOG)


class HttpServer(uvicorn.Server):
    """Stops at once, or hands over."""

    def __init__(self, app: Closing, line: Line | None, endpoint: Endpoint, patience: float | None = None):
        """`patience`: seconds that answers have once it is told to stop; those of the longest answer when absent."""
        timeout, files = patience or endpoint.limits.timeout, endpoint.tls
        config = uvicorn.Config(
            app,
            http=Headed,
            loop="asyncio",
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(timeout) + 1,
            ssl_certfile=files.certificate if files else None,
            ssl_keyfile=files.key if files else None,
        )
        super().__init__(config)
        self._door, self._line, self._timeout = app, line, timeout
        self._files, self._crowd = files, allow_files() * 3 // 4
        self._hurry = asyncio.Event()
        self._handing_over = False
        self._awaited: dict[tuple[Any, Any], float] = {}
        """Connection and its last request -> since when the next one has been on its way."""
        self._unread: dict[tuple[Any, Any], float] = {}
        """Connection and what its client has taken -> since when it has taken no more."""

    def order(self, what: str) -> None:
        """`handover`: another worker has the socket now. `stop`: nobody will; idle connections are closed at once."""
        self._handing_over = what == "handover"
        if what == "stop":
            self._hurry.set()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours instead of uvicorn's, which ends the process by the signal before the journal is closed."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self.order, "stop")
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop, secure = asyncio.get_running_loop(), self.config.ssl
        how: dict[str, Any] = {"ssl": secure, "ssl_handshake_timeout": HANDSHAKE_SECONDS} if secure else {}
        doors = [Door(fileno=os.dup(each.fileno())) for each in sockets or []]
        self.servers = [await loop.create_server(self._connection, sock=door, backlog=1, **how) for door in doors]
        self.started = True
        if self._files and self.config.ssl:
            self._renewing = asyncio.create_task(renew(self.config.ssl, self._files))
        if self._line:
            self._line.say(ready=True)

    def _connection(self) -> Headed:
        return Headed(self.config, self.server_state, app_state={})

    async def on_tick(self, counter: int) -> bool:
        self._drop_late()
        return await super().on_tick(counter)

    def _drop_late(self) -> None:
        """Close connections whose request does not come whole, or whose answer is not read: uvicorn waits for both."""
        now, connections = asyncio.get_running_loop().time(), self.server_state.connections
        crowded = len(connections) > self._crowd
        patience = CROWDED_SECONDS if crowded else HEAD_SECONDS
        asking = [(each, _last_request(each)) for each in connections if _idle(each) and (crowded or not _resting(each))]
        self._awaited = {one: self._awaited.get(one, now) for one in asking}
        for (connection, _), since in self._awaited.items():
            if now - since > patience and not connection.transport.is_closing():
                connection.transport.close()
        waiting = [(each, _taken(each)) for each in connections if _unsent(each)]
        self._unread = {one: self._unread.get(one, now) for one in waiting}
        for (connection, _), since in self._unread.items():
            if now - since > (UNREAD_SECONDS if crowded else self._timeout):
                connection.transport.abort()  # to close is to wait for who reads nothing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.closing = True
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        if self._line:
            self._line.say(draining=self._timeout + 2 * LINGER_SECONDS)
        if self._handing_over:
            await self._linger()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        """Let every connection end by its client's next request, or by having been idle for long."""
        connections: dict[Any, Any] = {item: _last_request(item) for item in self.server_state.connections}
        for connection in connections:
            connection.timeout_keep_alive = LINGER_SECONDS
        await self._until_gone(LINGER_SECONDS)
        for connection, last in connections.items():
            if connection in self.server_state.connections and _idle(connection) and _last_request(connection) is last:
                connection.shutdown()
        await self._until_gone(self._timeout + LINGER_SECONDS)

    async def _until_gone(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while self.server_state.connections and not self._hurry.is_set() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)


async def renew(serving: ssl.SSLContext, files: Tls) -> None:
    """A certificate that was renewed on the disk is shown to the next connection. One that does not fit its key is not."""
    loaded = _age(files)
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        found = _age(files)
        if found != loaded and not (await asyncio.to_thread(tls.fault, files.certificate, files.key))[1]:
            serving.load_cert_chain(files.certificate, files.key)
            loaded = found
            log.info("serving the certificate in %s as it is now", files.certificate)


def _age(files: Tls) -> list[int]:
    with contextlib.suppress(OSError):
        return [Path(path).stat().st_mtime_ns for path in (files.certificate, files.key)]
    return []


def _taken(connection: Any) -> tuple[int, bytes]:
    """What changes when its client takes something of what was written: also a byte, where the system tells."""
    left, wire = _unsent(connection), connection.transport.get_extra_info("socket")
    if sys.platform != "linux" or wire is None:  # None: it was lost just now, below its encryption
        return left, b""
    return left, wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED + 8)[ACKNOWLEDGED:]


def _unsent(connection: Any) -> int:
    """Bytes that wait for their client. An encrypted connection of asyncio's that was closed twice knows none any more."""
    try:
        return int(connection.transport.get_write_buffer_size())
    except AttributeError:
        return 0


def _last_request(connection: Any) -> Any:
    return connection.cycle


def _idle(connection: Any) -> bool:
    return connection.cycle is None or connection.cycle.response_complete


def _resting(connection: Any) -> bool:
    """Between an answer and the first byte of the next request."""
    return connection.timeout_keep_alive_task is not None
