"""Around every request: what came of it is noted, and a draining worker says goodbye in the HTTP of it."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.serving.journal import Journal
from backends.serving.metrics import Metrics

ASKING = {"/v1/chat/completions", "/v1/completions", "/invocations"}
"""Paths whose requests are journaled."""
KNOWN = ASKING | {"/v1/models", "/v1/feedback", "/v1/audit", "/health", "/metrics", "/ping", "/docs", "/openapi.json"}
RECORD = "llmspec.record"


@dataclass
class Record:
    """What is known of one request; whoever answers it fills it in."""

    path: str
    started: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: int = 500
    stream: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    first_token_seconds: float | None = None
    finish: str = ""
    key: str = ""
    """The public id of the key that asked; empty without keys."""
    question: str = ""
    answer: str = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Door:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, journal: Journal, metrics: Metrics, release: int):
        self._app, self._journal, self._metrics, self._release = app, journal, metrics, release
        self.closing = False
        """Every answer from now on ends its connection, so that the client's next request reaches the new worker."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = Record(scope["path"])

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", record.id.encode())]
                message["headers"].append((b"x-llmspec-release", b"%d" % self._release))
                if self.closing:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._note(record)

    def _note(self, record: Record) -> None:
        path = record.path if record.path in KNOWN else "other"
        if path in ASKING and record.status not in (401, 403):  # knocking in vain must not push real lines out of the journal
            facts: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in ("started", "id")}
            first = record.first_token_seconds
            facts |= {"seconds": round(record.seconds, 4), "first_token_seconds": None if first is None else round(first, 4)}
            self._journal.write(id=record.id, release=self._release, **facts)
        self._metrics.count(
            path, record.status, record.seconds, record.prompt_tokens, record.answer_tokens, record.first_token_seconds
        )
