"""Who may ask: keys, roles, limits, and what a browser may be used for. Spoken to by the client that people use."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving_parts import PLAIN, ROOT, endpoint, eventually, release

from llmspec.audit import Trail
from llmspec.home import access_folder, journal_folder
from llmspec.journal import read
from llmspec.keys import Keys

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
CHAT = {"messages": HELLO, "max_tokens": 3}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / ".llmspec"


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """An endpoint for which keys were made."""
    with endpoint(home, release()) as found:
        keys().create("first", "admin")
        yield found


def keys() -> Keys:
    return Keys(access_folder("bot", "local"))


def made(role: str, expires: float | None = None) -> str:
    return keys().create(f"a {role}", role, expires)[1]


def asking(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def status(url: str, path: str, key: str | None, method: str = "GET") -> int:
    body = CHAT if method == "POST" else None
    return httpx.request(method, f"{url}{path}", headers=bearer(key) if key else {}, json=body, verify=PLAIN).status_code


PATHS = [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/v1/audit")]
MAY = {None: [401, 401, 401, 401], "user": [200, 200, 403, 403], "developer": [200, 200, 200, 403], "admin": [200, 200, 200, 200]}


@pytest.mark.parametrize("role", MAY)
def test_each_role_may_do_what_the_spec_says_and_nothing_else(url: str, role: str | None) -> None:
    key = made(role) if role else None
    assert [status(url, path, key, method) for method, path in PATHS] == MAY[role]
    assert [status(url, path, key) for path in ("/health", "/ping", "/docs", "/openapi.json")] == [200] * 4
    assert status(url, "/health", key, "POST") == (401 if key is None else 405)


def test_openais_client_raises_its_own_exceptions_and_the_message_names_the_cure(url: str) -> None:
    assert asking(url, made("user")).chat.completions.create(model="bot", messages=HELLO, max_tokens=3).id
    with pytest.raises(openai.AuthenticationError, match="not known here") as refused:
        asking(url, "llms_00000000_" + "x" * 43).models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.response.headers["www-authenticate"] == "Bearer"
    with pytest.raises(openai.PermissionDeniedError, match="needs 'read_audit'") as denied:
        asking(url, made("developer")).get("/audit", cast_to=dict)
    assert denied.value.code == "permission_denied"


FORGED = ["none", "llms__", "llms_x", "sk-1234", "llms_" + "9" * 5000, "llms_\xe9_x", "Bearer x"]


@pytest.mark.parametrize("key", FORGED)
def test_what_is_no_key_of_ours_is_refused(url: str, key: str) -> None:
    sent = {"authorization": f"Bearer {key}".encode("latin-1")}
    assert httpx.get(f"{url}/v1/models", headers=sent).status_code == 401  # type: ignore[arg-type]


def test_the_right_id_with_another_secret_is_refused_and_a_basic_password_too(url: str) -> None:
    key, text = keys().create("x", "user")
    assert status(url, "/v1/models", text) == 200
    assert status(url, "/v1/models", f"llms_{key.id}_{'A' * 43}") == 401
    assert status(url, "/v1/models", text[:-1]) == 401
    assert httpx.get(f"{url}/v1/models", auth=("user", text)).status_code == 401


def test_a_revoked_key_is_refused_from_the_next_request_on(url: str) -> None:
    key, text = keys().create("leaver", "user")
    assert status(url, "/v1/models", text) == 200
    keys().revoke(key.id)
    answer = httpx.get(f"{url}/v1/models", headers=bearer(text))
    assert (answer.status_code, "is revoked" in answer.json()["error"]["message"]) == (401, True)


def test_a_key_expires(url: str) -> None:
    text = made("user", expires=0.4)
    assert status(url, "/v1/models", text) == 200
    eventually(lambda: status(url, "/v1/models", text) == 401)
    assert "is expired" in httpx.get(f"{url}/v1/models", headers=bearer(text)).json()["error"]["message"]


@pytest.mark.parametrize("harm", ["torn", "gone", "not ours", "empty"])
def test_a_file_of_keys_that_is_torn_or_gone_lets_nobody_in(url: str, harm: str) -> None:
    text, path = made("admin"), keys().path
    whole = path.read_bytes()
    assert status(url, "/v1/models", text) == 200
    try:
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes({"torn": whole[: len(whole) // 2], "not ours": b'{"keys": [{"id": 1}]}', "empty": b""}[harm])
        assert [status(url, "/v1/models", key) for key in (text, None)] == [401, 401]
    finally:
        path.write_bytes(whole)
    eventually(lambda: status(url, "/v1/models", text) == 200)


def test_what_is_kept_of_a_key_is_its_hash_in_a_file_that_only_its_owner_reads(url: str) -> None:
    text = made("user")
    kept = "".join(path.read_text() for path in keys().folder.iterdir())
    assert text.split("_", 2)[2] not in kept
    assert text.split("_", 2)[1] in kept
    modes = {path.name: path.stat().st_mode & 0o777 for path in (keys().path, Trail(keys().folder).path, keys().folder)}
    assert modes == {"keys.json": 0o600, "audit.jsonl": 0o600, keys().folder.name: 0o700}


def test_many_who_make_keys_at_once_lose_none(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from llmspec.keys import Keys\n"
    script += "[Keys(Path(sys.argv[1])).create(f'{sys.argv[2]}-{n}', 'user') for n in range(10)]"
    command = [sys.executable, "-c", script, str(tmp_path / "k")]
    both = [subprocess.Popen([*command, name], cwd=ROOT) for name in "ab"]
    assert [one.wait(60) for one in both] == [0, 0]
    assert len({key.id for key in Keys(tmp_path / "k").all()}) == 20
    assert Trail(tmp_path / "k").broken() == 0


def test_health_tells_everybody_that_it_is_up_and_the_bytes_only_to_those_who_may_ask(url: str) -> None:
    said = httpx.get(f"{url}/health").json()
    assert set(said) == {"ready", "spec", "target", "release", "since"}
    assert set(httpx.get(f"{url}/health", headers=bearer(made("user"))).json()) - set(said) == {
        "content", "artifact", "digest", "contract",
    }  # fmt: skip


def test_what_is_open_to_all_is_open_to_whoever_brings_a_key_that_is_no_longer_good(url: str) -> None:
    key, text = keys().create("monitor", "developer")
    keys().revoke(key.id)
    for path in ("/", "/docs", "/ping", "/health"):
        assert [status(url, path, bad) for bad in (text, "llms_unknown", "sk-another")] == [200, 200, 200], path
    assert set(httpx.get(f"{url}/health", headers=bearer(text)).json()) == {"ready", "spec", "target", "release", "since"}
    assert [status(url, path, text) for path in ("/v1/models", "/metrics")] == [401, 401]


def test_the_journal_says_whose_key_it_was_and_knocking_in_vain_does_not_fill_it(url: str, home: Path) -> None:
    key, text = keys().create("writer", "user")
    id = asking(url, text).completions.create(model="bot", prompt="x", max_tokens=2).id
    assert status(url, "/v1/completions", None, "POST") == 401
    folder = home / "journal" / "bot-local"
    eventually(lambda: any(f"cmpl-{entry['id']}" == id and entry["key"] == key.id for entry in read(folder)))
    assert {entry["status"] for entry in read(folder)} == {200}


def test_without_declared_origins_there_is_no_cors(url: str) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    before = httpx.options(f"{url}/v1/chat/completions", headers=asked)
    assert before.status_code == 401
    assert not [name for name in before.headers if name.startswith("access-control")]


# limits


def test_each_key_has_its_own_minute_and_hears_what_is_left_in_openais_words(tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(requests_per_minute=2)) as url:
        one, two = made("user"), made("user")
        asks = asking(url, one).chat.completions.with_raw_response
        left = [asks.create(model="bot", messages=HELLO, max_tokens=2).headers for _ in range(2)]
        assert [headers["x-ratelimit-remaining-requests"] for headers in left] == ["1", "0"]
        assert (left[0]["x-ratelimit-limit-requests"], left[0]["x-ratelimit-reset-requests"]) == ("2", "60s")
        with pytest.raises(openai.RateLimitError, match="more than 2 requests in a minute") as refused:
            asks.create(model="bot", messages=HELLO)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert asking(url, two).chat.completions.create(model="bot", messages=HELLO, max_tokens=2).id
        assert asking(url, one).models.list().data, "looking is not counted"


def test_tokens_are_counted_when_the_answer_has_ended_streamed_or_not(tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(tokens_per_minute=60)) as url:
        asks = asking(url, "none").chat.completions
        used = asks.create(model="bot", messages=HELLO, max_tokens=10).usage
        assert used
        assert used.total_tokens < 60
        stream = asks.with_raw_response.create(model="bot", messages=HELLO, max_tokens=50, stream=True)
        assert stream.headers["x-ratelimit-remaining-tokens"] == str(60 - used.total_tokens)
        assert list(stream.parse())
        with pytest.raises(openai.RateLimitError, match="more than 60 tokens in a minute"):
            asks.create(model="bot", messages=HELLO, max_tokens=2)


def test_who_hangs_up_pays_for_what_was_read_and_made_and_who_is_refused_pays_nothing(tmp_path: Path) -> None:
    body = json.dumps({"messages": HELLO, "max_tokens": 1700}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with endpoint(tmp_path / ".llmspec", release(tokens_per_minute=5000, output_tokens=1700)) as url:
        host, port = url.removeprefix("http://").split(":")

        def left() -> int:
            asked = {"messages": HELLO, "max_tokens": 1, "temperature": -1}
            return int(httpx.post(f"{url}/v1/chat/completions", json=asked).headers["x-ratelimit-remaining-tokens"])

        assert (left(), left()) == (5000, 5000)
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(head + body)
            eventually(lambda: "llmspec_running 1" in httpx.get(f"{url}/metrics").text)
        eventually(lambda: left() < 5000)
        found: list[dict[str, Any]] = []
        eventually(lambda: found.extend(each for each in read(journal_folder("bot", "local")) if each["status"] == 499) or found)
        assert left() == 5000 - found[0]["prompt_tokens"] - found[0]["answer_tokens"]


# the trail


def test_the_trail_names_who_made_keys_and_who_was_refused_once_a_minute(url: str) -> None:
    key, text = keys().create("curious", "user")
    started = time.time() - 1
    for _ in range(5):
        assert status(url, "/metrics", text) == 403
    admin = made("admin")

    def told() -> list[dict[str, Any]]:
        answer = httpx.get(f"{url}/v1/audit", params={"since": started}, headers=bearer(admin)).json()
        assert answer["intact"]
        return [entry for entry in answer["data"] if entry["by"] == key.id or entry.get("key") == key.id]

    eventually(lambda: [entry["event"] for entry in told()] == ["key created", "refused"])
    assert (told()[1]["status"], told()[1]["asked"]) == (403, "GET /metrics")
    for senseless in ("soon", "nan", "-inf"):
        assert httpx.get(f"{url}/v1/audit?since={senseless}", headers=bearer(admin)).status_code == 400
