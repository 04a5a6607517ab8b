"""OpenTelemetry: a real endpoint sends real OTLP to a collector on loopback, and nothing when nobody asked for it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conftest import ROOT
from fake_collector import Collector, collecting, plain
from serving_parts import endpoint, release

from backends.serving.tracing import wanted

HELLO: list[Any] = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "I am ana@shop.example"}]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """The environment names a collector."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector


def test_a_request_is_a_span_of_its_callers_trace_with_the_conventions_names(observed: Collector, tmp_path: Path) -> None:
    with endpoint(tmp_path, release()) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        caller = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        made = client.chat.completions.create(
            model="bot", messages=HELLO, max_tokens=7, temperature=0.5, seed=3, stop=["@@"], extra_headers=caller
        )
        span = observed.named("chat bot")
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.kind) == (TRACE, PARENT, 2)
    assert made.usage
    assert plain(span.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.provider.name": "llmspec",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "bot",
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ["@@"],
        "gen_ai.response.model": "bot",
        "gen_ai.response.id": made.id,
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.usage.input_tokens": made.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": 7,
        "llmspec.release": 1,
        "llmspec.target": "local",
    }
    resource = plain(observed.requests[0].resource_spans[0].resource.attributes)
    assert (resource["service.name"], resource["service.version"]) == ("bot", "1")
    assert b"ana@shop" not in b"".join(request.SerializeToString() for request in observed.requests)


def test_streams_refusals_and_completions_are_spans_and_what_is_looked_at_is_none(observed: Collector, tmp_path: Path) -> None:
    with endpoint(tmp_path, release()) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert list(client.completions.create(model="bot", prompt="Where is", max_tokens=4, stream=True))
        streamed = plain(observed.named("text_completion bot").attributes)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="bot", messages=[], max_tokens=1)
        refused = observed.named("POST /v1/chat/completions")
        unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
        client.chat.completions.create(model="bot", messages=HELLO, max_tokens=1, extra_headers=unsampled)
        httpx.get(f"{url}/metrics")
    assert (streamed["gen_ai.request.stream"], streamed["gen_ai.usage.output_tokens"]) == (True, 4)
    assert 0 < streamed["gen_ai.response.time_to_first_chunk"] < 20
    assert plain(refused.attributes)["http.response.status_code"] == 400
    assert refused.status.code == 0  # the client's fault is no error of the server
    assert [span.name for span in observed.spans] == ["text_completion bot", "POST /v1/chat/completions"]


def test_what_people_wrote_is_sent_only_when_the_environment_asks_and_redacted(
    observed: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,team=blue")
    with endpoint(tmp_path, release()) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        made = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=5)
    said = plain(observed.named("chat bot").attributes)  # sent at the latest when the endpoint stopped
    asked = json.loads(said["gen_ai.input.messages"])
    assert [(message["role"], message["parts"][0]["content"]) for message in asked] == [
        ("system", "Be kind"),
        ("user", "I am [EMAIL]"),
    ]
    (answer,) = json.loads(said["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": made.choices[0].message.content}]
    assert answer["finish_reason"] == "length"
    resource = plain(observed.requests[0].resource_spans[0].resource.attributes)
    assert (resource["service.name"], resource["team"]) == ("shop", "blue")


def test_a_collector_that_is_away_stops_neither_answers_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Collector()
    gone.server.server_close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    with endpoint(tmp_path, release()) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        for _ in range(3):
            assert client.chat.completions.create(model="bot", messages=HELLO, max_tokens=2).choices


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from backends.serving.kinds import load
        from backends.serving.tracing import tracing
        from llmspec.release import Release
        release = Release.from_json(Path(sys.argv[1]).read_text())
        assert tracing(release) is None
        print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "google"))])
    """
    file = tmp_path / "release.json"
    file.write_text(release().to_json())
    clean = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script, str(file)], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], expected: bool) -> None:
    assert wanted(environment) is expected


def test_what_cannot_be_done_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert not wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert not wanted({"OTEL_TRACES_EXPORTER": "zipkin"})
    assert "the OTLP protocol is 'grpc'" in caplog.text
    assert "OTEL_TRACES_EXPORTER is 'zipkin'" in caplog.text
