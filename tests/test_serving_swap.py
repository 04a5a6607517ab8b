"""The endpoint's life: swapped under load, killed, stopped, rebound; no request lost, no process left."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving_parts import endpoint, eventually, exported, processes, release, sealed

from backends.places import local_endpoint
from backends.serving.engine import Engine
from backends.serving.sockets import bind
from llmspec.client import ask
from llmspec.errors import PlaceError
from llmspec.home import journal_folder, run_folder
from llmspec.journal import read
from llmspec.release import Release

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
TOKENS = 400


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".llmspec"


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    with endpoint(home, release()) as found:
        yield found


def said_by(seed: int, tokens: int = TOKENS) -> str:
    engine = Engine(sealed(seed).folder, slots=1, max_len=1956, threads=1)
    return engine.generate([engine.encode(engine.contract.render(HELLO))], max_tokens=tokens)[0].text


def posted(client: httpx.Client, url: str) -> str:
    response = client.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": TOKENS}, timeout=30)
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


def by_openai(url: str) -> Callable[[], str]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def streamed() -> str:
        chunks = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=TOKENS, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    return streamed


def by_httpx(url: str) -> Callable[[], str]:
    client = httpx.Client()
    return lambda: posted(client, url)


def by_new_connections(url: str) -> Callable[[], str]:
    return lambda: "".join(ask(url, "Hello there", max_tokens=TOKENS))


def test_no_request_fails_while_releases_are_swapped_under_load(url: str, home: Path) -> None:
    first, second = said_by(0), said_by(1)
    answers: list[str] = []
    faults: list[BaseException] = []
    ended = threading.Event()

    def load(call: Callable[[], str], pause: float) -> None:
        while not ended.wait(pause):
            try:
                answers.append(call())
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                faults.append(error)

    makers = [(by_openai, 0.0), (by_httpx, 0.0), (by_new_connections, 0.0), (by_httpx, 0.15), (by_openai, 0.4), (by_httpx, 1.1)]
    threads = [threading.Thread(target=load, args=(make(url), pause)) for make, pause in makers]
    for thread in threads:
        thread.start()
    for number, seed in ((2, 1), (3, 0)):
        live = local_endpoint.serve(release(number, seed=seed))
        assert (live.release, live.url) == (number, url)
        before = len(answers)
        eventually(lambda before=before: len(answers) > before + 10)  # type: ignore[misc]
    ended.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert set(answers) == {first, second}, "every answer is one release's, whole"
    assert "".join(ask(url, "Hello there", max_tokens=TOKENS)) == first
    eventually(lambda: len(processes(home)) == 2, 30)
    journaled = [entry for entry in read(journal_folder("bot", "local")) if entry["path"] == "/v1/chat/completions"]
    assert {entry["status"] for entry in journaled} == {200}
    assert len(journaled) >= len(answers)


def test_a_stream_that_has_begun_is_finished_by_the_release_that_began_it(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 1700, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        local_endpoint.serve(release(2, seed=1))
        pieces = [json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in lines if line.startswith("data: {")]
    assert "".join(pieces) == said_by(0, 1700)[: sum(map(len, pieces))]
    assert len("".join(pieces)) > 1000


def test_serving_what_is_served_changes_nothing(url: str, home: Path) -> None:
    before = processes(home)
    assert local_endpoint.serve(release()).url == url
    assert processes(home) == before


@pytest.mark.parametrize("fault", ["changed", "missing", "contract"])
def test_a_release_that_does_not_come_up_leaves_the_old_one_serving(url: str, tmp_path: Path, fault: str) -> None:
    bad = broken(fault, tmp_path)
    with pytest.raises(PlaceError, match=r"release 2 did not come up") as told:
        local_endpoint.serve(bad)
    words = {"changed": "not as its manifest says", "missing": "no complete artifact", "contract": "contract is not the one"}
    assert words[fault] in str(told.value)
    assert f"release 1 still serves: {url}" in str(told.value)
    assert Path(told.value.log).read_text()
    assert "".join(ask(url, "Hello there", max_tokens=TOKENS)) == said_by(0)
    assert local_endpoint.serve(release(3, seed=1)).release == 3


def broken(fault: str, folder: Path) -> Release:
    if fault == "contract":
        return replace(release(2, seed=1), contract="another")
    copy = folder / "copy"
    shutil.copytree(sealed(1).folder, copy)
    if fault == "missing":
        (copy / "manifest.json").unlink()
    else:
        weights = copy / "model.onnx.data"
        data = bytearray(weights.read_bytes())
        data[1000] ^= 1
        weights.write_bytes(data)
    return replace(release(2, seed=1), artifact=str(copy))


def test_a_first_release_that_does_not_come_up_leaves_no_process(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(home))
    with pytest.raises(PlaceError, match="not as its manifest says"):
        local_endpoint.serve(broken("changed", tmp_path))
    eventually(lambda: processes(home) == [])
    assert local_endpoint.live("bot", "local") is None


def test_a_killed_worker_is_back_within_seconds_and_waiting_clients_are_answered(url: str, home: Path) -> None:
    state = local_endpoint.state(run_folder("bot", "local"))
    "".join(ask(url, "Hello there", max_tokens=3))
    journal = journal_folder("bot", "local")
    eventually(lambda: any(entry["answer_tokens"] == 3 for entry in read(journal)))
    os.kill(state["worker"], signal.SIGKILL)
    # The listening socket is the supervisor's: a client that comes now is kept waiting, not refused.
    assert "".join(ask(url, "Hello there", max_tokens=TOKENS)) == said_by(0)
    eventually(lambda: local_endpoint.state(run_folder("bot", "local"))["worker"] != state["worker"])
    after = local_endpoint.state(run_folder("bot", "local"))
    assert (after["restarts"], after["pid"], after["port"]) == (1, state["pid"], state["port"])
    eventually(lambda: [entry["answer_tokens"] for entry in read(journal) if entry["answer_tokens"]] == [3, TOKENS])
    os.kill(after["worker"], signal.SIGKILL)
    eventually(lambda: local_endpoint.live("bot", "local"))


def test_a_killed_supervisor_leaves_no_orphan_and_apply_brings_the_same_address_back(url: str, home: Path) -> None:
    os.kill(local_endpoint.state(run_folder("bot", "local"))["pid"], signal.SIGKILL)
    eventually(lambda: processes(home) == [])
    assert local_endpoint.live("bot", "local") is None
    assert local_endpoint.serve(release()).url == url


@pytest.mark.parametrize("how", ["stop", "sigterm"])
def test_stopping_finishes_what_was_begun_and_leaves_nothing(url: str, home: Path, how: str) -> None:
    half = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    half.sendall(b"POST /v1/chat")
    body = {"messages": HELLO, "max_tokens": 1700, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        if how == "stop":
            threading.Thread(target=local_endpoint.stop, args=("bot", "local")).start()
        else:
            os.kill(local_endpoint.state(run_folder("bot", "local"))["pid"], signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    eventually(lambda: not local_endpoint.supervised(run_folder("bot", "local")))
    assert processes(home) == []
    half.close()
    assert not local_endpoint.stop("bot", "local"), "nothing was running any more"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_a_taken_port_is_named_with_its_holder_and_the_cure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(home))
    code = "import socket,time; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        port = int(other.stdout.readline())
        try:
            with pytest.raises(PlaceError, match=rf"port {port} is taken by .*\(process {other.pid}\).*endpoint.port"):
                local_endpoint.serve(release(port=port))
        finally:
            other.kill()
    eventually(lambda: processes(home) == [])


def test_another_port_or_host_rebinds_and_the_old_address_is_given_back(url: str) -> None:
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    moved = local_endpoint.serve(release(2, port=port))
    assert moved.url == f"http://127.0.0.1:{port}"
    eventually(lambda: refused(url))
    wider = local_endpoint.serve(release(3, host="0.0.0.0", port=port))
    assert (wider.url, wider.release) == (moved.url, 3)
    assert local_endpoint.state(run_folder("bot", "local"))["host"] == "0.0.0.0"


@pytest.mark.parametrize("host", ["203.0.113.7", "box.invalid", "a..b"])
def test_a_host_that_is_not_this_machine_takes_nothing_down(url: str, home: Path, host: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    serving = local_endpoint.serve(release(2, port=port))
    worker = local_endpoint.state(run_folder("bot", "local"))["worker"]
    with pytest.raises(PlaceError, match=rf"cannot listen on {host}:{port} .*endpoint.host") as said:
        local_endpoint.serve(release(3, host=host, port=port))
    assert f"release 2 still serves: {url}" in str(said.value)
    assert local_endpoint.live("bot", "local") == serving
    assert local_endpoint.state(run_folder("bot", "local"))["worker"] == worker, "it was not even restarted"


def test_an_address_that_is_partly_taken_gives_the_old_one_back_at_once(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    serving = local_endpoint.serve(release(2, port=port))
    with bind("127.0.0.2", port):  # so 0.0.0.0 cannot be bound even when the old socket is gone
        with pytest.raises(PlaceError, match=f"port {port} is taken"):
            local_endpoint.serve(release(3, host="0.0.0.0", port=port))
        socket.create_connection(("127.0.0.1", port), timeout=5).close()  # whoever comes now waits, and is not refused
        eventually(lambda: local_endpoint.live("bot", "local"), 60)
    live = local_endpoint.live("bot", "local")
    assert live
    assert (live.release, live.url) == (2, serving.url)


def refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=1)
    except httpx.ConnectError:
        return True
    return False


def test_two_who_serve_at_once_share_one_supervisor(url: str, home: Path) -> None:
    local_endpoint.stop("bot", "local")
    code = "import sys; from backends.places import local_endpoint as e; from llmspec.release import Release\n"
    code += "try: e.serve(Release.from_json(sys.stdin.read()))\nexcept Exception as error: print(error)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        assert one.stdin
        one.stdin.write(release().to_json())
        one.stdin.close()
    assert [one.wait(60) for one in both] == [0, 0]
    assert local_endpoint.live("bot", "local")
    eventually(lambda: len(processes(home)) == 2)


def test_more_memory_than_there_is_is_refused_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.serving import decoder

    monkeypatch.setattr(decoder, "free_memory", lambda: 1_000_000)
    with pytest.raises(PlaceError, match=r"lower endpoint.limits.input_tokens"):
        Engine(exported(), slots=64, max_len=2048)


def test_a_proxy_of_the_environment_is_not_asked_what_is_live_here(url: str) -> None:
    asking = "from backends.places import local_endpoint; print(local_endpoint.live('bot', 'local').url)"
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    assert subprocess.check_output([sys.executable, "-c", asking], env=environment, text=True).strip() == url


def test_asking_what_is_live_is_quick_and_believes_only_the_answer(url: str) -> None:
    live = local_endpoint.live("bot", "local")
    assert live
    assert (live.release, live.url) == (1, url)
    started = time.monotonic()
    assert local_endpoint.live("other", "local") is None
    assert time.monotonic() - started < 1
