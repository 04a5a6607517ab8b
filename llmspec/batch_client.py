"""Asks an endpoint for the lines of a batch, patiently: what it has no room for is asked again, what breaks is asked again too."""

import http.client
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmspec.client import KEY, Call, Reply, connection_to
from llmspec.errors import CallError, PlaceError

PATIENCE = 300.0
"""Seconds for one answer."""
ABSENCE = 60.0
"""Seconds without a listener, after which the endpoint is given up."""
BREAKS = 3
"""How often a line's connection may break before the line is given up: it may be what makes the endpoint fall."""


@dataclass(frozen=True)
class Line:
    """One request of the file."""

    number: int
    """From 1."""
    custom_id: str
    url: str
    body: bytes


class Asker:
    """One endpoint, asked by several threads, each over a connection of its own."""

    def __init__(
        self, url: str, key: str = "", certificate: str = "", headers: Mapping[str, str] | None = None, call: Call | None = None
    ):
        self._url, self._certificate, self._call = url, certificate, call
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._headers |= {"authorization": f"Bearer {key}"} if key else {}
        self._address = urlsplit(url)
        self._thread = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._stop = threading.Event()

    def close(self) -> None:
        """Whoever still waits for an answer is interrupted."""
        self._stop.set()
        for connection in self._connections:
            _break(connection)

    def answer(self, line: Line) -> dict[str, Any]:
        """What goes into the file for this line, whatever happens to it. Raises only when the whole batch must stop."""
        said: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line.custom_id}
        for _ in range(BREAKS):
            try:
                response = self._until_taken(line)
                return said | {"response": response, "error": None}
            except (OSError, http.client.HTTPException) as error:
                if not self._call:
                    _break(self._connection)
                fault = str(error) or type(error).__name__
                self._pause(random.uniform(0.5, 1.5))
        message = f"the connection broke {BREAKS} times while this was asked: {fault}"
        return said | {"response": None, "error": {"code": "connection_broken", "message": message}}

    def _until_taken(self, line: Line) -> dict[str, Any]:
        """Its response, once the endpoint has room for it."""
        while True:
            self._pause(0)
            reply = self._call(line.url, line.body) if self._call else self._asked(line)
            said, body = {name.lower(): value for name, value in reply.headers.items()}, _json(b"".join(reply.lines))
            if reply.status in (401, 403):
                raise CallError(f"the endpoint refused ({reply.status}): {_said(body)}\n  set {KEY} to a key that may ask")
            if reply.status not in (429, 503):
                return {"status_code": reply.status, "request_id": said.get("x-request-id", ""), "body": body}
            self._pause(_wait(said.get("retry-after")) + random.uniform(0, 0.5))

    def _asked(self, line: Line) -> Reply:
        """Over this thread's connection."""
        self._reach()
        self._connection.request("POST", self._address.path + line.url, line.body, self._headers)
        response = self._connection.getresponse()
        return Reply(response.status, dict(response.headers), [response.read()])

    def _reach(self) -> None:
        """Have a connection. An endpoint that does not listen is waited for; it says nothing about the line."""
        since = time.monotonic()
        while self._connection.sock is None:
            try:
                self._connection.connect()
            except OSError as error:
                if time.monotonic() - since > ABSENCE:
                    where = f"{self._address.scheme}://{self._address.netloc}"
                    raise PlaceError(f"the endpoint at {where} cannot be reached: {error}; run it again to go on") from error
                self._pause(1.0)

    @property
    def _connection(self) -> http.client.HTTPConnection:
        """This thread's own."""
        if not hasattr(self._thread, "connection"):
            self._thread.connection = connection_to(self._url, self._certificate, PATIENCE)
            self._connections.append(self._thread.connection)
        return self._thread.connection  # type: ignore[no-any-return]

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise PlaceError("the batch was stopped")


def _break(connection: http.client.HTTPConnection) -> None:
    """Close it under whoever reads from it."""
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return {"error": {"message": raw.decode(errors="replace")}}


def _wait(said: str | None) -> float:
    """Seconds, as the endpoint says them; a proxy between may say a date, or nothing."""
    return float(said) if said and said.isdecimal() else 1.0


def _said(body: Any) -> str:
    with suppress(KeyError, TypeError):
        return str(body["error"]["message"])
    return str(body)
