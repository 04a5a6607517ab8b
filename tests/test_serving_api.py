"""The API, spoken to by the clients that people use, and by some that nobody should."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving_parts import PLAIN, endpoint, eventually, exported, release, sealed

from backends.serving.choices import Choice
from backends.serving.engine import Engine
from backends.serving.guards import OutputGuard
from backends.serving.pump import Ticket
from backends.serving.replies import Piece
from backends.serving.sampling import Sampling
from llmspec.home import journal_folder
from llmspec.journal import read

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("api") / ".llmspec", release()) as found:
        yield found


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=1, max_len=1956, threads=1)


def greedy(engine: Engine, text: str, tokens: int) -> str:
    prompt = engine.encode(engine.contract.render([{"role": "user", "content": text}]))
    return engine.generate([prompt], max_tokens=tokens)[0].text


def running(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("llmspec_running ", "llmspec_waiting ")))


def test_an_answer_is_what_the_engine_says_and_its_usage_is_right(client: openai.OpenAI, engine: Engine) -> None:
    made = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=30)
    assert made.choices[0].message.content == greedy(engine, "Hello there", 30)
    assert made.choices[0].finish_reason == "length"
    assert made.usage
    prompt = len(engine.encode(engine.contract.render(HELLO)))
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (prompt, 30, prompt + 30)


def test_a_stream_begins_with_the_role_ends_with_the_reason_and_says_the_same(client: openai.OpenAI, engine: Engine) -> None:
    chunks = list(
        client.chat.completions.create(
            model="bot", messages=HELLO, max_tokens=30, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == greedy(engine, "Hello there", 30)
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 30
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_bytes_of_a_stream_are_server_sent_events_that_end_with_done(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = response.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-2])


def test_completions_continue_text_and_tokens_each_prompt_with_its_own_choice(client: openai.OpenAI, engine: Engine) -> None:
    ids = engine.encode("<|bos|>Where is")
    made = client.completions.create(model="bot", prompt=["Where is", "my order"], max_tokens=9)
    assert [choice.text for choice in made.choices] == [
        engine.generate([engine.encode(f"<|bos|>{text}")], max_tokens=9)[0].text for text in ("Where is", "my order")
    ]
    assert client.completions.create(model="bot", prompt=ids, max_tokens=9).choices[0].text == made.choices[0].text
    streamed = client.completions.create(model="bot", prompt="Where is", max_tokens=9, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == made.choices[0].text


def test_a_stop_text_ends_the_answer(client: openai.OpenAI, engine: Engine) -> None:
    whole = greedy(engine, "Hello there", 30)
    made = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=30, stop=whole[7:10])
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == (whole[: whole.index(whole[7:10])], "stop")


def test_many_at_once_are_each_answered_as_if_alone(url: str, engine: Engine) -> None:
    async def ask_all() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            asked = [
                client.chat.completions.create(model="bot", messages=[{"role": "user", "content": f"Question {i}"}], max_tokens=25)
                for i in range(6)
            ]
            return [made.choices[0].message.content for made in await asyncio.gather(*asked)]

    assert asyncio.run(ask_all()) == [greedy(engine, f"Question {i}", 25) for i in range(6)]


def test_faults_are_the_clients_own_exceptions_with_the_field_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="unsupported field 'reasoning_effort'") as refused:
        client.chat.completions.create(model="bot", messages=HELLO, reasoning_effort="low")
    assert (refused.value.param, refused.value.code) == ("reasoning_effort", "unsupported_field")
    with pytest.raises(openai.NotFoundError, match="this is 'bot'"):
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match=r"at most 256 are taken") as refused:
        client.chat.completions.create(model="bot", messages=[{"role": "user", "content": "x " * 300}])
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="no place for it"):
        client.chat.completions.create(model="bot", messages=HELLO, extra_body={"context": "a page"})
    assert client.chat.completions.create(model="bot", messages=HELLO, service_tier="auto", tools=[], max_tokens=1).id


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("my field", "my field"),
        ("top.k", "top.k"),
        ("", ""),
        ("größe", "größe"),
        ("a\x1b[31m\nb", "a\ufffd[31m\ufffdb"),
        ("x" * 5000, "x" * 200 + "…"),
    ],
)
def test_an_unknown_field_is_named_as_it_was_sent(url: str, sent: str, said: str) -> None:
    refused = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO, sent: 1}).json()["error"]
    assert (refused["param"], refused["code"]) == (said, "unsupported_field")
    assert f"unsupported field '{said}'" in refused["message"]
    inside = httpx.post(f"{url}/v1/chat/completions", json={"messages": [HELLO[0] | {sent: 1}]}).json()["error"]
    assert inside["param"] == f"messages.0.{said}"


HOSTILE = [
    b"",
    b"not json",
    b"[1, 2]",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"messages": []}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"messages": [{"role": "wizard", "content": "x"}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}',
    b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
    json.dumps({"messages": HELLO, "stop": ["x"] * 1000}).encode(),
    b'{"messages": [{"role": "user", "content": "' + b"x" * 200_000 + b'"}]}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_what_makes_no_sense_is_refused_with_400_in_openais_form(url: str, body: bytes) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("chat/completions", {"messages": [0] * 257}, "257 messages in one request, and at most 256 are taken"),
        ("completions", {"prompt": [None] * 7}, "7 prompts in one request, and at most 6 are taken"),
        ("completions", {"prompt": ["x " * 300] * 2, "n": 4}, "8 answers in one request, and at most 6 are taken"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x " * 300}], "n": 7}, "7 answers in one request"),
    ],
)
def test_what_is_too_many_is_counted_before_each_is_looked_at(url: str, path: str, body: dict[str, Any], said: str) -> None:
    refused = httpx.post(f"{url}/v1/{path}", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(said)


def test_json_that_python_does_not_take_is_not_called_no_json(url: str) -> None:
    for body, said in (
        (b'{"seed": %s}' % (b"1" * 5000), "more than 4,300 digits"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
    ):
        message = httpx.post(f"{url}/v1/chat/completions", content=body).json()["error"]["message"]
        assert said in message
        assert "not JSON" not in message


def test_bodies_that_are_too_large_and_paths_that_are_not_there_are_refused(url: str) -> None:
    assert httpx.post(f"{url}/v1/chat/completions", content=b"x" * 5_000_000).status_code == 413
    assert httpx.get(f"{url}/v1/nothing").json()["error"]["message"] == "GET /v1/nothing: Not Found"
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405


def test_more_than_slots_and_queue_hold_is_refused_with_a_time_to_come_back(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 1700}
    found: list[httpx.Response] = []

    def ask() -> None:
        found.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60, verify=PLAIN))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [response for response in found if response.status_code == 429]
    assert len(refused) + sum(response.status_code == 200 for response in found) == 12
    assert refused
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert {response.json()["error"]["type"] for response in refused} == {"rate_limit_error"}


def test_overload_of_a_fresh_worker_is_refused_by_statuses_and_counted_as_that(tmp_path: Path) -> None:
    found: list[httpx.Response] = []

    def ask(url: str, stream: bool) -> None:
        body = {"messages": HELLO, "max_tokens": 600, "stream": stream}
        found.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60, verify=PLAIN))

    with endpoint(tmp_path / ".llmspec", release(concurrency=1, queue=60, timeout="2s")) as url:
        threads = [threading.Thread(target=ask, args=(url, number % 2 == 0)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        metrics = httpx.get(f"{url}/metrics").text
    answered, refused = ([each for each in found if each.status_code == status] for status in (200, 429))
    assert (len(answered) + len(refused), bool(refused)) == (30, True)
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    assert not [each for each in answered if '"error"' in each.text], "no stream begins that has no turn"
    assert f'finished_reason="length"}} {len(answered)}\n' in metrics
    assert f'path="/v1/chat/completions",status="200"}} {len(answered)}\n' in metrics


def test_who_sends_a_hundred_requests_makes_another_client_wait_for_one_of_them(tmp_path: Path) -> None:
    def client(address: str) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=address, limits=limits), timeout=60)

    async def ask(url: str) -> tuple[httpx.Response, list[int], list[int]]:
        """One client's answer, and how the other's requests had ended when it came and when it was answered."""
        path, body = f"{url}/v1/chat/completions", {"messages": HELLO, "max_tokens": 500}
        async with client("127.0.0.1") as greedy, client("127.0.0.2") as modest:
            hundred = [asyncio.create_task(greedy.post(path, json=body)) for _ in range(100)]
            seen: list[list[int]] = []
            while not seen or 429 not in seen[0]:
                await asyncio.sleep(0.01)
                seen = [[task.result().status_code for task in hundred if task.done()]]
            one = await modest.post(path, json=body)
            seen.append([task.result().status_code for task in hundred if task.done()])
            for task in hundred:
                task.cancel()
            return one, seen[0], seen[1]

    with endpoint(tmp_path, release(concurrency=1, queue=40, timeout="60s")) as url:
        one, before, after = asyncio.run(ask(url))
    assert one.status_code == 200
    assert after.count(429) > 50
    passed = after.count(200) - before.count(200)
    assert passed < 20, "the one that was being answered, one more, and those answered while it was on its way: not the forty"


def costly(name: str) -> dict[str, Any]:
    """A request for JSON of a schema that takes seconds to be refused."""
    schema = {"allOf": [{"type": "string", "pattern": f".*{name}{number}.*"} for number in range(30)]}
    return {
        "messages": HELLO,
        "max_tokens": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}},
    }


def test_schemas_wait_in_a_place_and_no_longer_than_an_answer_may_take(tmp_path: Path) -> None:
    def asked(url: str, body: dict[str, Any]) -> tuple[int, float, str]:
        made = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        return made.status_code, made.elapsed.total_seconds(), made.headers.get("retry-after", "")

    with endpoint(tmp_path, release(concurrency=2, queue=2, timeout="3s")) as url, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda name: asked(url, costly(name)), "abcdefg"))
        assert {status for status, _, _ in found} <= {400, 429}
        refused = [(seconds, again) for status, seconds, again in found if status == 429]
        assert len(refused) >= 3
        assert all(int(again) >= 1 for _, again in refused)
        assert max(seconds for _, seconds, _ in found) < 10, "seven take fourteen seconds, one after the other"
        body = {"messages": HELLO, "max_tokens": 3}
        eventually(lambda: [asked(url, body)[0] for _ in range(4)] == [200] * 4)
        eventually(lambda: asked(url, {**body, "response_format": {"type": "json_object"}})[0] == 200)


def test_a_client_that_leaves_while_its_schema_waits_frees_its_place(tmp_path: Path) -> None:
    body = json.dumps(costly("a")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with endpoint(tmp_path, release(concurrency=1, queue=0)) as url:
        host, port = url.removeprefix("http://").split(":")

        def status() -> int:
            return httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1}).status_code

        assert status() == 200
        with socket.create_connection((host, int(port))) as left:
            left.sendall(head + body)
            eventually(lambda: status() == 429)
        started = time.monotonic()
        eventually(lambda: status() == 200)
        assert time.monotonic() - started < 1.9, "the schema itself takes two seconds of work"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(url: str, stream: bool) -> None:
    body = json.dumps({"messages": HELLO, "max_tokens": 1700, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    host, port = url.removeprefix("http://").split(":")
    began = time.time()
    with socket.create_connection((host, int(port))) as left:
        left.sendall(head + body)
        eventually(lambda: running(url) == 1)
    started = time.monotonic()
    eventually(lambda: running(url) == 0)
    journal = _journaled(lambda entry: entry["time"] >= began and entry["path"] == "/v1/chat/completions")
    assert journal["finish"] == "cancelled", f"after {time.monotonic() - started:.2f} s"
    assert journal["answer_tokens"] < 1700


def _journaled(wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first such line, once the writer's thread has come to it."""
    found: list[dict[str, Any]] = []
    eventually(lambda: found.extend(filter(wanted, read(journal_folder("bot", "local")))) or found)
    return found[0]


def test_what_was_made_while_nobody_listened_comes_in_one_piece(engine: Engine) -> None:
    async def listen() -> list[Piece]:
        news = asyncio.Event()
        news.set()
        ticket = Ticket(engine.submit([7, 8, 9], Sampling(30)), news)
        choice = Choice(0, ticket, OutputGuard([], lambda *_: None), end=lambda: None)
        found = []
        for steps in (2, 9, 100):
            for _ in range(steps):
                engine.step()
            found += [piece for piece in [choice.take()] if piece]
        return found

    said = asyncio.run(listen())
    assert [piece.finish for piece in said] == [None, None, "length"]
    assert "".join(piece.text for piece in said) == engine.generate([[7, 8, 9]], 30)[0].text
    assert len(said[2].text) > len(said[1].text) > len(said[0].text)


def test_a_slow_reader_misses_nothing(url: str) -> None:
    body = json.dumps({"messages": HELLO, "max_tokens": 1700, "stream": True, "logprobs": True, "top_logprobs": 20}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(head.encode() + body)
        begun = slow.recv(1000)
        eventually(lambda: running(url) == 0, 60)  # it is made to the end, though hardly anything has been read
        heard = begun + b"".join(iter(lambda: slow.recv(2**20), b""))
    events = [json.loads(line[6:]) for line in heard.split(b"\n") if line.startswith(b"data: {")]
    tokens = [len(choice["logprobs"]["content"]) for event in events for choice in event["choices"] if choice["logprobs"]]
    assert sum(tokens) == 1700
    assert b"data: [DONE]" in heard


def test_half_sent_requests_disturb_nobody(url: str, client: openai.OpenAI) -> None:
    host, port = url.removeprefix("http://").split(":")
    halves = [b"", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{"]
    open_ones = [socket.create_connection((host, int(port))) for _ in range(30)]
    for number, half_open in enumerate(open_ones):
        half_open.sendall(halves[number % 3])
    assert client.chat.completions.create(model="bot", messages=HELLO, max_tokens=3).choices
    for half_open in open_ones:
        half_open.close()
    assert httpx.post(f"{url}/v1/chat/completions", content=b"\x00\x01", headers={"content-length": "2"}).status_code == 400


def test_sagemakers_paths_and_the_operators_say_what_is(url: str, engine: Engine) -> None:
    assert httpx.get(f"{url}/ping").status_code == 200
    made = httpx.post(f"{url}/invocations", json={"messages": HELLO, "max_tokens": 5}).json()
    assert made["choices"][0]["message"]["content"] == greedy(engine, "Hello there", 5)
    assert httpx.post(f"{url}/invocations", json={"prompt": "x", "max_tokens": 2}).json()["object"] == "text_completion"
    health = httpx.get(f"{url}/health").json()
    assert (health["ready"], health["release"], health["artifact"]) == (True, 1, sealed().manifest.key)
    assert [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]] == ["bot"]
    assert 'llmspec_requests_total{path="/invocations",status="200"}' in httpx.get(f"{url}/metrics").text
    page = httpx.get(f"{url}/openapi.json").json()
    assert "Message" in page["components"]["schemas"]


def test_what_can_be_got_can_be_asked_for_by_its_head(url: str) -> None:
    for path in ("/", "/health", "/ping", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v1/models/bot", "/v1/audit"):
        head, whole = httpx.head(f"{url}{path}"), httpx.get(f"{url}{path}")
        assert (head.status_code, head.content, head.headers.get("content-type")) == (200, b"", whole.headers.get("content-type"))
        if path != "/metrics":  # which counts what asks for it
            assert head.headers["content-length"] == whole.headers["content-length"]
    assert httpx.head(f"{url}/v1/models/other").status_code == 404
    assert httpx.head(f"{url}/v1/chat/completions").status_code == 405
    assert "head" not in httpx.get(f"{url}/openapi.json").json()["paths"]["/health"]


def test_every_request_is_journaled_without_what_must_not_be_kept(url: str, client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "I am ana@shop.example, +49 30 1234567"}]
    made = client.chat.completions.create(model="bot", messages=asked, max_tokens=4)
    entry = _journaled(lambda entry: made.id.endswith(entry["id"]))
    assert entry["question"] == "I am [EMAIL], [PHONE]"
    assert (entry["release"], entry["status"], entry["answer_tokens"], entry["finish"]) == (1, 200, 4, "length")
    assert 0 < entry["first_token_seconds"] <= entry["seconds"]
    assert entry["answer"] == made.choices[0].message.content


def test_time_that_is_up_ends_an_answer_with_what_it_has(tmp_path: Path) -> None:
    with endpoint(tmp_path, release(timeout="50ms")) as url:
        made = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1700}).json()
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] < 1700


def test_one_address_gets_so_many_requests_a_minute(tmp_path: Path) -> None:
    with endpoint(tmp_path, release(requests_per_minute=2)) as url:
        statuses = [httpx.post(f"{url}/v1/completions", json={"prompt": "x", "max_tokens": 1}) for _ in range(3)]
        assert [response.status_code for response in statuses] == [200, 200, 429]
        assert 1 <= int(statuses[2].headers["retry-after"]) <= 60
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="bot", messages=HELLO)
        assert httpx.get(f"{url}/health").status_code == 200


def test_context_reaches_the_prompt_of_a_product_that_has_a_place_for_it(tmp_path: Path) -> None:
    with endpoint(tmp_path, release(form="context_qa")) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        usages = [
            client.chat.completions.create(model="bot", messages=HELLO, max_tokens=1, extra_body=extra).usage
            for extra in ({}, {"context": "We ship within two days."})
        ]
        assert usages[0]
        assert usages[1]
        assert usages[1].prompt_tokens > usages[0].prompt_tokens + 5


def test_a_connection_is_kept_for_the_next_request(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    for _ in range(3):
        connection.request("GET", "/health")
        connected = connection.sock
        assert connection.getresponse().read()
        assert connection.sock is connected
    connection.close()
