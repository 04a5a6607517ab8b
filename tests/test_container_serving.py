"""The serving container, as a process that is started and spoken to as SageMaker does."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from container_parts import FILES, GRANTED, SERVE, Container, model_folder, said, serving
from serving_parts import PLAIN, eventually, release, sealed

from backends.serving.lines import LONGEST, shortened
from backends.serving.surroundings import Surroundings
from llmspec import container
from llmspec.errors import PlaceError
from llmspec.keys import Keys
from llmspec.release import Release

pytest_plugins = ["moto_parts"]
HELLO = [{"role": "user", "content": "Hello there, write to anna@example.org"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("opt-ml"), sealed().folder)


@pytest.fixture(scope="module")
def running(model: Path) -> Iterator[Container]:
    with serving(model, release(), **GRANTED) as started:
        yield started.ready()


def ask(running: Container, path: str = "/invocations", headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    asked = {"messages": HELLO, "max_tokens": 8} | body
    return httpx.post(f"{running.url}{path}", json=asked, headers=headers or {}, timeout=30, verify=PLAIN)


def test_it_says_503_until_the_model_can_answer(tmp_path: Path) -> None:
    model = shutil.copytree(sealed().folder, tmp_path / "model")
    manifest = (model / "manifest.json").read_text()
    (model / "manifest.json").unlink()
    os.mkfifo(model / "manifest.json")  # whoever reads it waits until somebody writes
    with serving(model, release(), **GRANTED) as started:
        eventually(lambda: started.ping() or started.process.poll() is not None)
        assert [started.ping() for _ in range(3)] == [503] * 3
        refused = ask(started)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["error"]["code"] == "loading"
        (model / "manifest.json").write_text(manifest)
        assert started.ready().ping() == 200
        assert ask(started).status_code == 200


def test_stopped_while_it_loads_it_ends_at_once(tmp_path: Path) -> None:
    model = shutil.copytree(sealed().folder, tmp_path / "model")
    (model / "manifest.json").unlink()
    os.mkfifo(model / "manifest.json")
    with serving(model, release(), **GRANTED) as started:
        eventually(lambda: started.ping() == 503)
        started.process.terminate()
        assert started.ended(10) == 0


def test_invocations_and_the_openai_path_give_the_same_answer(running: Container) -> None:
    headers = {"x-amzn-sagemaker-session-id": "NEW_SESSION", "x-amzn-sagemaker-custom-attributes": "trace=1"}
    invoked, chatted = ask(running, headers=headers), ask(running, "/v1/chat/completions")
    assert invoked.status_code == chatted.status_code == 200
    assert invoked.json()["choices"] == chatted.json()["choices"]
    assert invoked.headers["x-llmspec-release"] == "1"
    said = {name: value for name, value in invoked.headers.items() if name.startswith("x-amzn-sagemaker")}
    assert said == {"x-amzn-sagemaker-custom-attributes": f"llmspec-release=1;content={release().content}"}
    assert not any(name.startswith("x-amzn-sagemaker") for name in chatted.headers)


def test_the_openai_client_streams_from_it_with_the_platforms_own_token(running: Container) -> None:
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="bedrock-or-sagemaker-token")
    whole = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=400)  # type: ignore[arg-type]
    pieces = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=400, stream=True)  # type: ignore[arg-type]
    said = [piece.choices[0].delta.content or "" for piece in pieces]
    assert len(said) > 3
    assert "".join(said) == whole.choices[0].message.content


def test_only_what_the_platform_may_grant_is_granted(running: Container, model: Path) -> None:
    assert httpx.get(f"{running.url}/metrics").text.startswith("# HELP vllm:")
    assert httpx.get(f"{running.url}/v1/audit").status_code == 403
    with serving(model, release(), **{container.GRANTS: "use"}) as started:
        started.ready()
        assert ask(started).status_code == 200
        assert httpx.get(f"{started.url}/metrics").status_code == 403


def test_a_strangers_web_page_may_not_use_what_the_platform_lets_a_browser_do(running: Container) -> None:
    assert ask(running, headers={"origin": "https://evil.example"}).status_code == 403
    assert ask(running, headers={"origin": "https://shop.example", "host": "shop.example"}).status_code == 200


def test_with_a_folder_of_keys_a_key_is_asked_for(model: Path, tmp_path: Path) -> None:
    _, key = Keys(tmp_path / "access").create("anna", "user")
    with serving(model, release(), **{container.KEYS: str(tmp_path / "access"), container.GRANTS: "read_metrics"}) as started:
        started.ready()
        assert ask(started).status_code == 403
        assert ask(started, headers={"authorization": "Bearer llms_00000000_x"}).status_code == 401
        assert ask(started, headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert httpx.get(f"{started.url}/metrics").status_code == 200


def test_stdout_is_json_and_only_the_journal_holds_what_was_said(running: Container) -> None:
    before = len(running.lines("journal"))
    answer = ask(running, stream=False)
    eventually(lambda: len(running.lines("journal")) > before)
    (line,) = running.lines("journal")[before:]
    assert line["id"] == answer.json()["id"].removeprefix("chatcmpl-")
    assert (line["status"], line["answer_tokens"], line["release"]) == (200, 8, 1)
    assert "Hello there" in line["question"]
    assert "anna@example.org" not in json.dumps(running.said)
    assert "Hello there" not in json.dumps(running.lines("log"))


def test_a_journal_without_content_holds_numbers_only(model: Path) -> None:
    with serving(model, release(journal={"keep": "30d", "content": "none"}), **GRANTED) as started:
        ask(started.ready())
        eventually(lambda: started.lines("journal"))
        assert (started.lines("journal")[0]["question"], started.lines("journal")[0]["answer_tokens"]) == ("", 8)


def test_the_journal_can_go_to_a_folder(model: Path, tmp_path: Path) -> None:
    with serving(model, release(), **GRANTED, **{container.JOURNAL: str(tmp_path)}) as started:
        ask(started.ready())
        eventually((tmp_path / "journal.jsonl").exists)
        assert started.lines("journal") == []


def test_a_line_too_long_for_a_collector_is_cut_and_says_so() -> None:
    line = shortened({"question": "ä" * 20_000, "answer": "short", "status": 200})
    assert len(json.dumps(line, ensure_ascii=False).encode()) <= LONGEST
    assert (line["cut"], line["answer"]) == (["question"], "short")
    assert len(line["question"]) > 5_000
    assert shortened({"question": "ä", "status": 200}) == {"question": "ä", "status": 200}


def test_sigterm_lets_an_answer_under_way_end(model: Path) -> None:
    with serving(model, release(), **GRANTED) as started:
        started.ready()
        body = {"messages": HELLO, "max_tokens": 1700, "stream": True}
        with httpx.stream("POST", f"{started.url}/invocations", json=body, timeout=30) as response:
            lines = response.iter_lines()
            next(lines)
            started.process.terminate()
            pieces = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert pieces[-1]["choices"][0]["finish_reason"] == "length"
        assert started.ended(30) == 0
        assert started.lines("journal")[-1]["answer_tokens"] == 1700


def inside(running: Container) -> int:
    """Answers that are being made or wait."""
    page = dict(line.split(" ") for line in httpx.get(f"{running.url}/metrics").text.splitlines() if line.startswith("llmspec_"))
    return int(page["llmspec_running"]) + int(page["llmspec_waiting"])


def test_what_cannot_end_in_time_ends_with_what_it_has_and_every_client_is_answered(model: Path) -> None:
    many = release(concurrency=1, queue=40, timeout="5m")
    with serving(model, many, **GRANTED, **{container.STOP_SECONDS: "10"}) as started:
        started.ready()
        answers: list[httpx.Response] = []
        clients = [threading.Thread(target=lambda: answers.append(ask(started, max_tokens=1700))) for _ in range(40)]
        for client in clients:
            client.start()
        eventually(lambda: inside(started) + len(answers) >= 40)
        asked_at = time.monotonic()
        started.process.terminate()
        assert started.ended(30) == 0
        assert time.monotonic() - asked_at < 10
        for client in clients:
            client.join()
        assert len(answers) == 40
        begun = [answer.json() for answer in answers if answer.status_code == 200]
        assert {answer["choices"][0]["finish_reason"] for answer in begun} == {"length"}
        assert min(answer["usage"]["completion_tokens"] for answer in begun) < 1700
        told = [answer for answer in answers if answer.status_code == 429]
        assert len(begun) + len(told) == 40
        assert {answer.json()["error"]["message"] for answer in told} == {"its time was up before its turn came"}


def test_a_flipped_byte_is_never_served(tmp_path: Path) -> None:
    model = shutil.copytree(sealed().folder, tmp_path / "model")
    weights = model / "model.onnx.data"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 1
    weights.write_bytes(data)
    with serving(model, release(), **GRANTED) as started:
        seen = set()
        while started.process.poll() is None:
            seen.add(started.ping())
        assert started.ended() == 1
        assert seen <= {0, 503}
        assert "model.onnx.data: not as its manifest says" in started.logged()


def test_another_artifact_than_the_releases_is_never_served(tmp_path: Path) -> None:
    with serving(sealed(1).folder, release(), **GRANTED) as started:
        assert started.ended() == 1
        assert "another artifact than the one of release 1" in started.logged()


def test_the_health_check_of_the_image_is_ill_unless_the_model_answers(model: Path) -> None:
    _, *check = json.loads(said(FILES[SERVE], "HEALTHCHECK")[0].split(" CMD ")[1])
    with serving(model, release(), **GRANTED) as started:
        started.ready()
        behind_a_proxy = {**started.told, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        assert subprocess.run([sys.executable, *check], env=behind_a_proxy, check=False).returncode == 0
        started.process.terminate()
        started.ended()
        ill = subprocess.run([sys.executable, *check], env=started.told, check=False, capture_output=True, text=True)
        assert (ill.returncode, "refused" in ill.stderr) == (1, True)


def test_nothing_is_written_beside_the_model(running: Container, model: Path) -> None:
    ask(running)
    assert sorted(path.name for path in model.iterdir()) == sorted(path.name for path in sealed().folder.iterdir())


def told(**environment: str) -> dict[str, str]:
    return {**container.packed(release()), **GRANTED, **environment}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({container.GRANTS: ""}, "LLMSPEC_PLATFORM_GRANTS grants no 'use': nobody could ask"),
        ({container.GRANTS: "read_metrics"}, "nobody could ask"),
        ({container.GRANTS: "use,read_audit"}, "'read_audit' cannot be granted"),
        ({container.GRANTS: "use,everything"}, "'everything' cannot be granted to all comers (known: use, test, read_metrics)"),
        ({container.KEYS: "/nowhere"}, "LLMSPEC_KEYS: /nowhere is no folder here"),
        ({container.JOURNAL: "/nowhere"}, "LLMSPEC_JOURNAL: /nowhere is no folder here"),
        ({"PORT": "http"}, "PORT is 'http': write a whole number from 1 to 65,535"),
        ({container.STOP_SECONDS: "3"}, "LLMSPEC_STOP_SECONDS is '3': write a whole number from 10"),
        ({container.MODEL: "gs://bucket/model"}, "cannot be fetched: write a folder, or s3://bucket/prefix"),
        ({container.RELEASE: ""}, "LLMSPEC_RELEASE is not set"),
        ({container.RELEASE: "H4sInonsense"}, "LLMSPEC_RELEASE holds no whole release"),
        ({container.RELEASE: "/nowhere/release.json"}, "/nowhere/release.json cannot be read (No such file"),
        ({"LLMSPEC_PLATFORM_GRANT": "use"}, "did you mean LLMSPEC_PLATFORM_GRANTS?"),
    ],
)
def test_what_the_platform_says_wrongly_is_named(change: dict[str, str], fault: str) -> None:
    with pytest.raises(PlaceError) as refused:
        Surroundings.of(told(**change))
    assert fault in str(refused.value)


def test_every_fault_is_said_at_once_and_nothing_listens(model: Path) -> None:
    with serving(model, release(), **{"PORT": "http", container.GRANTS: "everything"}) as started:
        assert started.ended() == 1
    said = started.logged()
    assert all(fault in said for fault in ("PORT is 'http'", "'everything' cannot", "nobody could ask"))


def test_an_empty_folder_of_keys_lets_nobody_in_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="there is no key"):
        Surroundings.of(told(**{container.GRANTS: "", container.KEYS: str(tmp_path)}))


def test_certificates_of_another_machine_are_refused_with_the_cure() -> None:
    secure = release(tls={"certificate": "/home/anna/tls.crt", "key": "/home/anna/tls.key"})
    with pytest.raises(PlaceError, match=r"endpoint.tls: /home/anna/tls.crt cannot be read .*endpoint: \{tls: null\}"):
        Surroundings.of(GRANTED | container.packed(secure))


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({}, 8080),
        ({"PORT": "9000"}, 9000),
        ({"AWS_LWA_PORT": "9001", "PORT": "9000"}, 9001),
        ({"SAGEMAKER_BIND_TO_PORT": "9002", "PORT": "9000"}, 9002),
    ],
)
def test_the_port_is_the_platforms_and_8080_without(environment: dict[str, str], port: int) -> None:
    found = Surroundings.of(told(**environment))
    assert (found.endpoint.host, found.endpoint.port) == ("0.0.0.0", port)


def test_a_release_travels_in_variables_that_sagemaker_takes(tmp_path: Path) -> None:
    long = release(system_prompt="".join(map(chr, range(33, 3000))))
    variables = container.packed(long)
    assert len(variables) > 2
    assert all(len(name) + len(value) <= 1024 for name, value in variables.items())
    found = container.unpacked(variables)
    assert (found.content, found.artifact) == (long.content, "")
    with pytest.raises(PlaceError, match="holds no whole release"):
        container.unpacked({name: value for name, value in variables.items() if name != "LLMSPEC_RELEASE_2"})
    (tmp_path / "release.json").write_text(long.to_json())
    assert container.unpacked({container.RELEASE: str(tmp_path / "release.json")}).content == long.content
    assert container.unpacked({container.RELEASE: long.to_json()}) == Release.from_json(long.to_json())


def test_a_packed_release_always_begins_with_gzips_own_bytes() -> None:
    """So that it is never taken for a path, although base64 has slashes."""
    assert container.packed(release())[container.RELEASE].startswith("H4sI")
    assert gzip.compress(b"")[:3] == b"\x1f\x8b\x08"


def test_the_container_ends_when_the_terminal_says_so_too(model: Path) -> None:
    with serving(model, release(), **GRANTED) as started:
        started.ready().process.send_signal(signal.SIGINT)
        assert started.ended(30) == 0


@pytest.mark.aws
def test_the_model_is_fetched_from_its_address_and_only_served_when_every_byte_is_right(aws: Any, tmp_path: Path) -> None:
    bucket = aws.bucket()
    for path in sealed().folder.rglob("*"):
        if path.is_file():
            aws.s3.upload_file(str(path), bucket, f"onnx/{path.relative_to(sealed().folder).as_posix()}")
    address, here = f"s3://{bucket}/onnx/", {"TMPDIR": str(tmp_path), **aws.env, **GRANTED}
    with serving(address, release(), **here) as started:
        fetched = ask(started.ready()).json()["choices"]
    with serving(sealed().folder, release(), **GRANTED) as started:
        assert ask(started.ready()).json()["choices"] == fetched
    shutil.rmtree(tmp_path / ".llmspec")
    right = aws.body(bucket, "onnx/tokenizer.json")
    aws.s3.put_object(Bucket=bucket, Key="onnx/tokenizer.json", Body=right[:-1] + b"!")
    with serving(address, release(), **here) as started:
        assert started.ended() == 1
        assert "tokenizer.json: not as its manifest says" in started.logged()
    assert "onnx/manifest.json" in aws.keys(bucket), "who serves changes nothing in the store"
