"""The API's description: what it says is what is answered, and its page needs no network."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter
from serving_parts import endpoint, release

from backends.serving.bodies import Chat, Completion, Message
from backends.serving.shapes import ANSWERS, STREAMS, Error

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("description") / ".llmspec", release()) as found:
        yield found


@pytest.fixture(scope="module")
def spec(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    return found


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, "n": 2, "logprobs": True, "top_logprobs": 2}),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4}),
    ("/v1/completions", {"prompt": "Where", "max_tokens": 3, "echo": True, "logprobs": 2}),
    ("/invocations", {"prompt": "Where", "max_tokens": 3}),
]


@pytest.mark.parametrize(("path", "body"), BODIES, ids=[f"{path} {len(body)}" for path, body in BODIES])
def test_answers_and_events_have_the_shape_that_is_described(url: str, path: str, body: dict[str, Any]) -> None:
    TypeAdapter(ANSWERS[path]).validate_json(httpx.post(f"{url}{path}", json=body).content, strict=True)
    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    *events, done, rest = httpx.post(f"{url}{path}", json=asked).text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    for event in events:
        TypeAdapter(STREAMS[path]).validate_json(event.removeprefix("data: "), strict=True)


def test_every_path_is_described_with_its_body_its_answer_and_its_errors(url: str, spec: dict[str, Any]) -> None:
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/models/{name}", "/health"} <= set(spec["paths"])
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], path
            assert ("requestBody" in operation) == (method == "post")
            assert {"200", "429", "500"} <= set(operation["responses"])
            assert "422" not in operation["responses"], "faults are 400 here"
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(spec))):
        assert reference in spec["components"]["schemas"]
    fields = spec["components"]["schemas"]["Chat"]["properties"]
    assert fields["temperature"]["description"].startswith("0, the default")
    assert {"type": "null"} in fields["temperature"]["anyOf"]
    assert fields["tools"]["enum"] == [[], None]
    assert spec["components"]["schemas"]["Message"]["required"] == ["role", "content"]
    TypeAdapter(Error).validate_json(httpx.get(f"{url}/v1/models/other").content, strict=True)


def test_every_field_that_is_taken_is_described(spec: dict[str, Any]) -> None:
    for body in (Chat, Completion, Message):
        described = spec["components"]["schemas"][body.__name__]["properties"]
        assert {name for name, field in described.items() if not field.get("description")} == set()
        assert set(described) == set(body.model_fields) | set(body.neutral)


def test_the_page_shows_all_of_it_and_loads_nothing(url: str, spec: dict[str, Any]) -> None:
    response = httpx.get(f"{url}/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = response.text
    assert not re.search(r"<script|<link|<img|src=|https?://", page)
    for path in spec["paths"]:
        assert f" {path}</code></h2>" in page
    for field in (*Chat.model_fields, *Completion.model_fields):
        assert f"<code>{field}</code>" in page
