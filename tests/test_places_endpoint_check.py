"""How an endpoint over HTTP is knocked at before it is said to be live: a real server that answers as it is told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backends.places import cloud, endpoint_check
from backends.places.endpoint_check import Door, knock
from llmspec.client import KEY
from llmspec.errors import PlaceError
from llmspec.release import Release

HEALTH = "GET /health"
CHAT = "POST /v1/chat/completions"
WHOLE, STREAMED = (200, b'{"choices": [{"message": {"content": "Hi"}}]}'), (200, b"data: {}\n\ndata: [DONE]\n\n")


class Heard(cloud.Watch):
    """What a person would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []

    def see(self, state: str) -> None:
        self.states.append(state)


class Endpoint:
    """Answers in the order in which they were told; the last one for good."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def say(self, what: str, *answers: tuple[int, bytes]) -> None:
        self.told[what] = list(answers)

    def next(self, what: str) -> tuple[int, bytes]:
        answers = self.told[what]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def release(number: int = 1) -> Release:
    return Release(number, "bot", "prod", "s3://shop/onnx", "key", "digest", "contract", {})


def healthy(number: int = 1, **more: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"ready": True, "release": number, **more}).encode()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Endpoint, str]]:
    monkeypatch.setattr(cloud, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(endpoint_check, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(endpoint_check, "PRIVATE_SECONDS", 0.1)
    monkeypatch.delenv(KEY, raising=False)
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            found.asked.append((f"{self.command} {self.path}", {name.lower(): value for name, value in self.headers.items()}))
            status, content = found.next(f"{self.command} {self.path}")
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_copy_that_starts_and_one_that_leaves_are_waited_for(endpoint: tuple[Endpoint, str]) -> None:
    told, url = endpoint
    told.say(HEALTH, (503, b""), (502, b""), healthy(1), healthy(2, content=release(2).content))
    told.say(CHAT, (429, b""), WHOLE, STREAMED)
    knock(Door(url), {2: release(2)}, Heard(), private=False)


def test_the_same_number_with_other_content_is_another_release(endpoint: tuple[Endpoint, str]) -> None:
    told, url = endpoint
    told.say(HEALTH, healthy(1, content="other"))
    with pytest.raises(PlaceError, match=r"release 1 with other content answers at .*, and not 1"):
        knock(Door(url), {1: release()}, Heard(), private=False)


def test_it_is_asked_with_the_key_that_is_there_and_what_the_platform_wants(
    endpoint: tuple[Endpoint, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, url = endpoint
    told.say(HEALTH, healthy())
    told.say(CHAT, WHOLE, STREAMED)
    monkeypatch.setenv(KEY, "llms_one")
    knock(Door(url, {"x-api-key": "two"}), {1: release()}, Heard(), private=False)
    assert {(headers["authorization"], headers["x-api-key"]) for _, headers in told.asked} == {("Bearer llms_one", "two")}


def test_where_a_key_or_a_person_is_wanted_it_is_said_that_nobody_asked(endpoint: tuple[Endpoint, str]) -> None:
    told, url = endpoint
    told.say(HEALTH, healthy())
    told.say(CHAT, (401, b""))
    heard = Heard()
    knock(Door(url), {1: release()}, heard, private=False)
    assert heard.states == ["it answers, and was not asked a question: it wants a key (set LLMSPEC_API_KEY)"]
    told.say(HEALTH, (401, b""))
    knock(Door(url), {1: release()}, heard, private=False)
    assert (
        heard.states[1] == "it was read back, and not asked: it wants somebody who signed in (set LLMSPEC_API_KEY to their token)"
    )


@pytest.mark.parametrize(
    ("chat", "fault"),
    [
        ([(500, b"it broke")], "says 500: it broke"),
        ([(200, b"hello")], "gave no answer: hello"),
        ([WHOLE, (200, b"data: {}\n\n")], "broke off its streamed answer"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(endpoint: tuple[Endpoint, str], chat: list[tuple[int, bytes]], fault: str) -> None:
    told, url = endpoint
    told.say(HEALTH, healthy())
    told.say(CHAT, *chat)
    with pytest.raises(PlaceError, match=fault):
        knock(Door(url), {1: release()}, Heard(), private=True)


def test_somebody_elses_server_is_told_apart(endpoint: tuple[Endpoint, str]) -> None:
    told, url = endpoint
    told.say(HEALTH, (200, b"<html>nginx"))
    with pytest.raises(PlaceError, match="/health is none of ours: <html>nginx"):
        knock(Door(url), {1: release()}, Heard(), private=False)
