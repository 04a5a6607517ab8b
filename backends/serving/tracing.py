"""One OpenTelemetry span for each request that makes the model work, when the environment names a collector. Else nothing at all.

Names follow the semantic conventions for generative AI. What people wrote is never part of a span, unless the environment
asks for that too; then it is redacted as the journal is.
"""

import json
import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from backends.serving.record import Record
from llmspec.redaction import redact
from llmspec.release import Release

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

CURE = "pip install 'llmspec[otel]'"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
WITH_CONTENT = ("true", "span_only", "span_and_event")
OPERATIONS = {"messages": "chat", "prompt": "text_completion", "input": "classify"}
"""What a body has: what was asked for. `classify` is ours, the others are the conventions'."""
CLOSE_SECONDS = 3.0
PREFIXES = {"chat": "chatcmpl-", "text_completion": "cmpl-"}
ASKED = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop_sequences",
    "n": "choice.count",
    "stream": "stream",
}
"""Our field: the convention's, after `gen_ai.request.`; said when the client said it."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the standard variables ask for spans in a way that can be done."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    named = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none" or not (named or exporter):
        return False
    if exporter not in ("", "otlp"):
        log.warning("no spans: OTEL_TRACES_EXPORTER is '%s', and this endpoint knows otlp and none", exporter)
        return False
    general = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", general)
    if protocol != "http/protobuf":
        log.warning("no spans: the OTLP protocol is '%s', and this endpoint speaks http/protobuf (port 4318 as a rule)", protocol)
    return protocol == "http/protobuf"


def tracing(release: Release) -> "Tracing | None":
    """Nothing is imported unless spans are wanted; where the libraries lack, the log says so and the endpoint serves."""
    if not wanted():
        return None
    try:
        return Tracing(release)
    except ImportError as error:
        log.warning("no spans: the environment names a collector, but %s is not installed: %s", error.name, CURE)
        return None


class Tracing:
    """Makes the spans; a thread of the SDK's sends them, and drops them when the collector is away for long."""

    def __init__(self, release: Release):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.propagate import extract
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, Status, StatusCode

        ours = {"service.name": release.spec, "service.version": str(release.number), "deployment.environment.name": release.target}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})  # the environment's word comes first
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("llmspec")
        self._extract, self._kind, self._failed = extract, SpanKind.SERVER, Status(StatusCode.ERROR)
        self._release = release
        self._content = os.environ.get(CONTENT, "").strip().lower() in WITH_CONTENT

    def begin(self, scope: Scope) -> "Span":
        """Part of the caller's trace, when it sent a `traceparent`."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        where = {"http.request.method": scope["method"], "url.path": scope["path"], "http.route": scope["path"]}
        known = {"gen_ai.provider.name": "llmspec", "gen_ai.request.model": self._release.spec}
        return self._tracer.start_span(f"POST {scope['path']}", self._extract(headers), self._kind, {**where, **known})

    def end(self, span: "Span", record: Record) -> None:
        """What is known of a request once it is over."""
        if span.is_recording():
            fields = OPERATIONS.keys() & vars(record.body).keys() if record.body is not None else set()
            operation = OPERATIONS[fields.pop()] if fields else ""
            if operation:
                span.update_name(f"{operation} {self._release.spec}")
                span.set_attributes(self._asked(record, operation) | self._answered(record, operation))
            if operation and self._content:
                span.set_attributes(_content(record))
            span.set_attribute("http.response.status_code", record.status)
            if record.status >= 500:
                span.set_attribute("error.type", str(record.status))
                span.set_status(self._failed)
        span.end()

    def _asked(self, record: Record, operation: str) -> dict[str, Any]:
        given = {ASKED[name]: getattr(record.body, name) for name in record.body.model_fields_set & ASKED.keys()}
        said = {f"gen_ai.request.{name}": value for name, value in given.items() if value is not None and value != []}
        if getattr(record.body, "schema_of_answer", None) is not None:
            said["gen_ai.output.type"] = "json"
        return {"gen_ai.operation.name": operation, **said}

    def _answered(self, record: Record, operation: str) -> dict[str, Any]:
        said: dict[str, Any] = {
            "gen_ai.response.model": self._release.spec,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.answer_tokens,
            "llmspec.release": self._release.number,
            "llmspec.target": self._release.target,
        }
        if record.reasons:
            said["gen_ai.response.finish_reasons"] = record.reasons
        if operation in PREFIXES:
            said["gen_ai.response.id"] = PREFIXES[operation] + record.id
        if record.stream and record.first_token_seconds is not None:
            said["gen_ai.response.time_to_first_chunk"] = record.first_token_seconds
        if record.guard:
            said["llmspec.guard"] = record.guard
        return said

    def close(self) -> None:
        """Send what is left; a collector that does not take it holds nobody up for long."""
        sending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)


def _content(record: Record) -> dict[str, str]:
    """In the conventions' form of messages."""
    asked = [(message.role, message.content) for message in getattr(record.body, "messages", [])] or [("user", record.question)]
    finish = {"finish_reason": "+".join(sorted(set(record.reasons)))}
    return {
        "gen_ai.input.messages": json.dumps([_message(role, text) for role, text in asked], ensure_ascii=False),
        "gen_ai.output.messages": json.dumps([_message("assistant", record.answer) | finish], ensure_ascii=False),
    }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": redact(text)}]}
