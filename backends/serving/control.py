"""The worker's end of the line to its supervisor: JSON lines both ways, and the listening socket with one of them.

When the supervisor is gone, however it went, the line breaks and the worker ends: nothing serves unsupervised.
"""

import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any


class Line:
    """Says what the worker does, and hears what it shall do."""

    def __init__(self, fd: int):
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self.on_order: Callable[[str], None] = lambda _: None
        self._listener = threading.Event()
        self._listeners: list[int] = []
        threading.Thread(target=self._hear, name="control", daemon=True).start()

    def say(self, **facts: Any) -> None:
        self._socket.sendall(json.dumps(facts).encode() + b"\n")

    def listener(self) -> socket.socket:
        """The socket to answer on; the supervisor sends it once the worker has said that it is loaded."""
        self._listener.wait()
        return socket.socket(fileno=self._listeners[0])

    def _hear(self) -> None:
        rest = b""
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, 4096, 1)
            except OSError:
                data, fds = b"", []
            if not data:
                os._exit(0)
            self._listeners += fds
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._obey(json.loads(line)["do"])

    def _obey(self, order: str) -> None:
        if order == "listen":
            self._listener.set()
        else:
            self.on_order(order)
