"""Without keys only this machine is answered: no web page from elsewhere may use its browser, unless the spec says so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving_parts import endpoint, release

from llmspec.home import access_folder
from llmspec.keys import Keys

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
CHAT = {"messages": HELLO, "max_tokens": 3}
CORS = ["https://shop.example"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An endpoint for which no key was ever made."""
    with endpoint(tmp_path_factory.mktemp("alone") / ".llmspec", release(cors=CORS)) as found:
        yield found


def status(url: str, path: str, key: str | None = None) -> int:
    return httpx.get(f"{url}{path}", headers={"authorization": f"Bearer {key}"} if key else {}).status_code


def test_without_keys_this_machine_is_answered_with_any_key_or_none(alone: str) -> None:
    assert openai.OpenAI(base_url=f"{alone}/v1", api_key="none").models.list().data[0].id == "bot"
    assert [status(alone, path) for path in ("/v1/models", "/metrics", "/v1/audit", "/health")] == [200] * 4
    assert httpx.get(f"{alone}/v1/models", headers={"host": "localhost:8080"}).status_code == 200


FOREIGN = [
    {"host": "evil.example:8080"},
    {"host": "127.0.0.1.evil.example"},
    {"host": "0.0.0.0:8080"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://["},
    {"host": "[", "origin": "http://["},
    {"host": "", "origin": "http://"},
    {"origin": "http://localhost:3000"},
    {"origin": "https://shop.example.evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_without_keys_a_web_page_from_elsewhere_cannot_use_the_browser_of_this_machine(alone: str, headers: dict[str, str]) -> None:
    simple = {"content-type": "text/plain", **headers}  # a form may send this without asking first
    refused = httpx.post(f"{alone}/v1/chat/completions", content=json.dumps(CHAT), headers=simple)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("said", ["203.0.113.7", "2001:db8::7", "127.0.0.1, 203.0.113.7", "unknown"])
def test_without_keys_whom_a_proxy_on_this_machine_brings_is_not_answered(alone: str, said: str) -> None:
    refused = httpx.get(f"{alone}/v1/audit", headers={"x-forwarded-for": said})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert httpx.get(f"{alone}/v1/audit", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 200


def test_the_endpoints_own_page_may_ask(alone: str) -> None:
    assert httpx.post(f"{alone}/v1/chat/completions", json=CHAT, headers={"origin": alone}).status_code == 200


def test_a_declared_origin_may_ask_and_read_and_no_other_may(alone: str) -> None:
    ours, theirs = {"origin": "https://shop.example"}, {"origin": "https://evil.example"}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    before = httpx.options(f"{alone}/v1/chat/completions", headers=ours | wanted)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert "x-stainless-os" in before.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in before.headers
    assert httpx.options(f"{alone}/v1/chat/completions", headers=theirs | wanted).status_code == 400
    answer = httpx.post(f"{alone}/v1/chat/completions", json=CHAT, headers=ours)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert "Origin" in answer.headers["vary"]
    assert httpx.get(f"{alone}/v1/audit", headers=ours).status_code == 403, "a page from elsewhere is a user, no admin"


def test_the_first_key_closes_the_door_at_once_and_losing_the_file_does_not_open_it(tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(cors=CORS)) as url:
        assert status(url, "/v1/models") == 200
        keys = Keys(access_folder("bot", "local"))
        text = keys.create("first", "user")[1]
        assert [status(url, "/v1/models", key) for key in (None, text)] == [401, 200]
        refused = httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers={"origin": CORS[0]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, CORS[0])
        foreign = {"origin": "https://evil.example", "authorization": f"Bearer {text}"}
        allowed = httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers=foreign)
        assert "access-control-allow-origin" not in allowed.headers
        keys.path.unlink()
        assert [status(url, "/v1/models", key) for key in (None, text)] == [401, 401]
