"""Around every request: what came of it is noted, and a draining worker says goodbye in the HTTP of it."""

from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.serving.journal import Journal
from backends.serving.metrics import Metrics
from backends.serving.record import RECORD, Record
from backends.serving.tracing import Tracing

if TYPE_CHECKING:
    from llmspec.release import Release

ASKING = {"/v1/chat/completions", "/v1/completions", "/v1/classify", "/invocations"}
"""Paths whose requests are journaled."""
KNOWN = ASKING | {"/v1/models", "/v1/feedback", "/v1/audit", "/health", "/metrics", "/ping", "/docs", "/openapi.json"}
UNSAID = {"started", "id", "body", "made", "rating"}
"""What a line of the journal says in another way, or not at all."""


class Door:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, journal: Journal, metrics: Metrics, release: "Release"):
        self._app, self._journal, self._metrics, self._release = app, journal, metrics, release.number
        self._attributes = f"llmspec-release={release.number};content={release.content}".encode()
        """The one header of a container's that SageMaker passes on: whoever deploys sees by it which release answers."""
        self.closing = False
        """Every answer from now on ends its connection, so that the client's next request reaches the new worker."""
        self.tracing: Tracing | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = Record(scope["path"])
        self._metrics.begin(record)
        span = self.tracing.begin(scope) if self.tracing and record.path in ASKING else None

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", record.id.encode())]
                message["headers"].append((b"x-llmspec-release", b"%d" % self._release))
                if record.path == "/invocations":
                    message["headers"].append((b"x-amzn-sagemaker-custom-attributes", self._attributes))
                if self.closing:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._note(record)
            if self.tracing and span:
                self.tracing.end(span, record)

    def _note(self, record: Record) -> None:
        path = record.path if record.path in KNOWN else "other"
        if path in ASKING and record.status not in (401, 403):  # knocking in vain must not push real lines out of the journal
            facts: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in UNSAID}
            first = record.first_token_seconds
            facts |= {"seconds": round(record.seconds, 4), "first_token_seconds": None if first is None else round(first, 4)}
            self._journal.write(id=record.id, release=self._release, **facts)
        self._metrics.end(record, path)
