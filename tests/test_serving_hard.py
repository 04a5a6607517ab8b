"""Hard treatment: whatever clients send, or leave unsent, the endpoint answers the next one, and no slot or memory is lost."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from serving_parts import PLAIN, endpoint, eventually, release

from backends.places import local_endpoint
from llmspec.home import journal_folder, run_folder

HELLO = [{"role": "user", "content": "Hello there"}]
LIMITS: dict[str, object] = {"concurrency": 4, "queue": 64, "output_tokens": 1700, "timeout": "20s"}
MUCH = 128 * 2**20
"""Bytes by which a worker may have grown after all that: allocators keep what a 4 MB body once needed."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hard") / ".llmspec"


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[str]:
    with endpoint(home, release(**LIMITS)) as url:
        yield url


@pytest.fixture
def url(served: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint; when the test is over it is looked at again."""
    monkeypatch.setenv("LLMSPEC_HOME", str(home))
    before = memory(worker())
    yield served
    eventually(lambda: idle(served))
    assert answered(served) == answered(served) != ""
    assert memory(worker()) - before < MUCH


def worker() -> int:
    return int(local_endpoint.state(run_folder("bot", "local"))["worker"])


def memory(pid: int) -> int:
    """Bytes resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def answered(url: str) -> str:
    response = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 8}, timeout=30, verify=PLAIN)
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


def idle(url: str) -> bool:
    """Nobody is answered and nobody waits: every slot is free."""
    metrics = httpx.get(f"{url}/metrics", verify=PLAIN).text
    gauges = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    return (float(gauges["llmspec_running"]), float(gauges["llmspec_waiting"])) == (0, 0)


def address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rsplit(":", 1)[1])


def post(body: dict[str, Any] | bytes, path: str = "/v1/chat/completions") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def chat(**fields: Any) -> bytes:
    return json.dumps({"messages": HELLO, "max_tokens": 4} | fields).encode()


def shaped(schema: str) -> bytes:
    """A chat whose answer should be of this schema, which is no JSON that Python would write."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": "SCHEMA"}}
    return chat(response_format=wanted).replace(b'"SCHEMA"', schema.encode())


HOSTILE = {
    "not a number as temperature": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "an endless temperature": b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "negative max_tokens": chat(max_tokens=-1),
    "a fraction of a token": chat(max_tokens=1.5),
    "a lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
    "a lone surrogate as stop": chat(stop=["\ud83d"]),
    "a lone surrogate as model": chat(model="\ud83d"),
    "a lone surrogate as role": chat(messages=[{"role": "\ud83d", "content": "x"}]),
    "a lone surrogate as a field's name": chat(**{"\ud83d": 1}),
    "a lone surrogate in an enum": shaped(r'{"enum": ["\ud83d"]}'),
    "a lone surrogate in a pattern": shaped(r'{"type": "string", "pattern": "\ud83d"}'),
    "a lone surrogate as a property's name": shaped(r'{"properties": {"\ud83d": {"type": "sting"}}}'),
    "not a number in a schema": shaped('{"type": "number", "minimum": NaN}'),
    "an endless number in a schema": shaped('{"type": "number", "maximum": 1e999}'),
    "bytes that are no UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "a thousand stop texts": chat(stop=[f"stop {number}" for number in range(1000)]),
    "an empty stop text": chat(stop=[""]),
    "deep lists": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "no message": chat(messages=[]),
    "a message that is a list": chat(messages=[[]]),
    "an unknown role": chat(messages=[{"role": "root", "content": "x"}]),
    "no text in a part": chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
    "a picture": chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]),
    "a hundred thousand tokens": chat(messages=[{"role": "user", "content": "order " * 100_000}]),
    "ten megabytes": chat(messages=[{"role": "user", "content": "x" * 10_000_000}]),
    "an endless number": b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 100_000 + b"}",
    "unknown fields": chat(**{f"field_{number}": number for number in range(1000)}),
    "true as a number": chat(temperature=[True]),
    "a list as body": b"[1, 2, 3]",
    "half a body": b'{"messages": [{"role": "us',
    "nothing": b"",
}


def test_bodies_that_mean_no_good_are_refused_in_words_and_leave_nothing_behind(url: str) -> None:
    grew = []
    for _ in range(4):
        before = memory(worker())
        assert refused_otherwise(url) == {}
        grew.append(memory(worker()) - before)
    assert min(grew[1:]) < 4 * 2**20, "what is kept is kept each time; where an allocator lays ten megabytes differs"


def refused_otherwise(url: str) -> dict[str, tuple[int, str]]:
    """Those of the hostile bodies that were not refused as they should."""
    odd = {}
    with httpx.Client(timeout=30) as client:
        for name, body in HOSTILE.items():
            response = client.post(f"{url}/v1/chat/completions", content=body)
            said = response.json().get("error", {}).get("message", "")
            if response.status_code not in (400, 413) or not 0 < len(said) < 2000:  # a fault is named, not repeated
                odd[name] = (response.status_code, response.text[:200])
    return odd


IN_SCHEMA = "response_format.json_schema.schema"
HALF = "half a character (a lone surrogate) is no text: send the whole character, or leave it out"


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("/v1/chat/completions", chat(model="\ud83d"), "model", HALF),
        ("/v1/chat/completions", chat(logit_bias={"\ud83d": 1}), "logit_bias", HALF),
        ("/v1/chat/completions", chat(**{"\ud83d": 1}), "a field's name", HALF),
        ("/v1/completions", b'{"prompt": "x", "model": "\\ud83d"}', "model", HALF),
        ("/v1/feedback", b'{"id": "\\ud83d", "rating": "up"}', "id", HALF),
        ("/v1/chat/completions", shaped(r'{"properties": {"\ud83d": {}}}'), f"{IN_SCHEMA}.properties", HALF),
        ("/v1/chat/completions", shaped(r'{"enum": ["a", "\ud83d"]}'), f"{IN_SCHEMA}.enum.1", HALF),
        ("/v1/chat/completions", shaped(r'{"pattern": "\ud83d"}'), f"{IN_SCHEMA}.pattern", HALF),
        ("/v1/chat/completions", shaped('{"items": {"minimum": -Infinity}}'), f"{IN_SCHEMA}.items.minimum", "endless numbers"),
        ("/v1/chat/completions", shaped('{"const": NaN}'), f"{IN_SCHEMA}.const", "endless numbers"),
    ],
)
def test_what_only_python_takes_for_json_is_refused_with_its_place_and_its_cure(
    url: str, path: str, body: bytes, param: str, said: str
) -> None:
    response = httpx.post(f"{url}{path}", content=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert response.json()["error"]["message"].startswith(f"{param}: ")
    assert said in response.json()["error"]["message"]


def test_prompts_of_odd_tokens_are_refused(url: str) -> None:
    for prompt in ([-1], [10**9], [2**70], [[]], [[1], []], [True, "x"], [list(range(3)) * 1000], [1] * 5000, ["x"] * 5000):
        response = httpx.post(f"{url}/v1/completions", json={"prompt": prompt, "max_tokens": 2}, timeout=30)
        assert response.status_code == 400, (prompt if len(str(prompt)) < 100 else "long", response.text[:300])


def test_whatever_the_openapi_allows_never_makes_it_fail(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def never_fails(case: Any) -> None:
            if isinstance(case.body, dict) and "max_tokens" in case.body:
                case.body["max_tokens"] = min(8, case.body["max_tokens"]) if isinstance(case.body["max_tokens"], int) else 8
            case.call_and_validate(checks=[not_a_server_error], timeout=30)

        never_fails()


def test_requests_that_never_arrive_whole_hold_nothing_up(url: str) -> None:
    whole = post({"messages": HELLO, "max_tokens": 4})
    kept = []
    for end in (1, 20, len(whole) - 30, len(whole) - 1):
        half = socket.create_connection(address(url))
        half.sendall(whole[:end])
        kept.append(half)
    assert answered(url)
    for half in kept:
        half.close()


def test_words_that_are_no_http_are_not_answered_with_a_failure(url: str) -> None:
    no_http = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"\x00" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"A" * 200_000)
    for said in no_http:
        with socket.create_connection(address(url)) as odd, contextlib.suppress(OSError):  # it may have hung up
            odd.settimeout(20)
            odd.sendall(said)
            odd.shutdown(socket.SHUT_WR)
            assert b" 500 " not in odd.recv(4096)


def test_clients_that_vanish_in_the_middle_give_their_slots_back(url: str) -> None:
    asked = post({"messages": HELLO, "max_tokens": 1700, "stream": True})
    gone = []
    for _ in range(12):
        client = socket.create_connection(address(url))
        client.sendall(asked)
        gone.append(client)
    assert gone[0].recv(100).startswith(b"HTTP/1.1 200"), "the first is being answered"
    for client in gone:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # with a reset, as when a cable is pulled
    eventually(lambda: idle(url), 10)


def test_a_slow_reader_gets_everything_and_keeps_nobody_waiting(url: str) -> None:
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.connect(address(url))
    slow.settimeout(20)
    slow.sendall(post({"messages": HELLO, "max_tokens": 1500, "stream": True, "stream_options": {"include_usage": True}}))
    got = slow.recv(64)
    assert answered(url), "others are answered meanwhile"
    while b"[DONE]" not in got[-100:]:
        got += slow.recv(512)
    assert b'"completion_tokens":1500' in got
    slow.close()


def test_five_hundred_clients_at_once_are_answered_or_told_when_to_come_back(url: str) -> None:
    async def ask(asked: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address(url))
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        writer.close()
        return head

    async def everyone() -> list[bytes]:
        return await asyncio.gather(*(ask(post({"messages": HELLO, "max_tokens": 24})) for _ in range(500)))

    heads = asyncio.run(everyone())
    statuses = [int(head[9:12]) for head in heads]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 68, "the slots and the queue were used"
    assert all(b"retry-after: " in head for head in heads if head[9:12] == b"429")


def test_its_memory_does_not_grow_with_the_number_of_requests(url: str) -> None:
    def some(number: int) -> None:
        with httpx.Client(timeout=30) as client:
            for index in range(number):
                if index % 4 == 0:
                    client.post(f"{url}/v1/chat/completions", content=HOSTILE["deep objects"])
                client.post(f"{url}/v1/chat/completions", content=chat(seed=index, temperature=1))

    some(60)
    before = memory(worker())
    some(240)
    assert memory(worker()) - before < 16 * 2**20


def test_a_worker_killed_under_load_is_back_and_its_journal_is_whole(url: str, home: Path) -> None:
    ended = threading.Event()
    answers: list[int] = []

    def load() -> None:
        while not ended.is_set():
            with contextlib.suppress(httpx.HTTPError):  # those that were being answered are lost with their worker
                response = httpx.post(f"{url}/v1/chat/completions", content=chat(max_tokens=40), timeout=30, verify=PLAIN)
                answers.append(response.status_code)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) > 20)
    killed = worker()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: worker() != killed)
    after = len(answers)
    eventually(lambda: len(answers) > after + 20)
    ended.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {200}
    torn = 0
    for path in journal_folder("bot", "local").glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                assert json.loads(line)["time"] <= time.time()
            except ValueError:
                torn += 1
    assert torn <= 1, "one kill tears at most the line that was being written"
