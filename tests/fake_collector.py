"""A collector on loopback that takes OTLP over HTTP and decodes it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving_parts import eventually


class Collector:
    """Takes OTLP over HTTP and decodes it as a collector does."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for part in request.resource_spans
            for in_scope in part.scope_spans
            for span in in_scope.spans
        ]

    def named(self, name: str) -> Any:
        """The span of this name, once it has come."""
        eventually(lambda: [span for span in self.spans if span.name == name])
        return next(span for span in self.spans if span.name == name)


@contextmanager
def collecting() -> Iterator[Collector]:
    made = Collector()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def plain(attributes: Any) -> dict[str, Any]:
    """Attribute -> value, as they were sent."""

    def value(sent: Any) -> Any:
        kind = sent.WhichOneof("value")
        return [value(item) for item in sent.array_value.values] if kind == "array_value" else getattr(sent, kind)

    return {item.key: value(item.value) for item in attributes}
