"""`llmspec batch`: files of requests, answered by a real endpoint, interrupted at any moment."""

import json
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from serving_parts import endpoint, eventually, exported, processes, release
from test_serving_tls import certificate

from backends.places import local_endpoint
from backends.serving.engine import Engine
from llmspec import batch_client, journal
from llmspec.batch import Batch, check
from llmspec.batch_client import Asker
from llmspec.errors import PlaceError, SpecError
from llmspec.home import access_folder
from llmspec.keys import Keys
from llmspec.release import Release
from llmspec.stage import Product

ROOT = Path(__file__).parents[1]
SPEC = """\
llmspec: 1
name: bot
description: Answers.
data: {sources: [{path: rows.jsonl}]}
model: {base: {scratch: tiny}, method: full}
"""


def deployed(folder: Path, first: Release) -> Path:
    """A project whose pointer says that this release is live."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bot.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSPEC_HOME", str(folder / ".llmspec"))
        releases = Product.open(folder / "bot.yaml", None).releases
        releases.add(first)
        releases.point(first, "2026-01-01T00:00:00Z")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a project, and its endpoint answers."""
    made = deployed(tmp_path_factory.mktemp("batch"), release())
    with endpoint(made / ".llmspec", release()):
        yield made


def command(*words: object) -> list[str]:
    return [sys.executable, "-P", "-m", "llmspec", "batch", "bot.yaml", *map(str, words)]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "LLMSPEC_HOME": str(folder / ".llmspec")}


def batch(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120)


def line(name: str, text: str, tokens: int = 5, url: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
    asks = {"messages": [{"role": "user", "content": text}]} if "chat" in url else {"prompt": text}
    return {"custom_id": name, "method": "POST", "url": url, "body": {"model": "bot", "max_tokens": tokens, **asks, **more}}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    assert path.read_bytes().endswith(b"\n")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def said(answer: dict[str, Any]) -> tuple[str, int, Any]:
    """What must be the same in every run: all but names and times."""
    body = answer["response"]["body"]
    return answer["custom_id"], answer["response"]["status_code"], (body.get("choices"), body.get("usage"), body.get("error"))


def test_a_file_of_requests_becomes_a_file_of_answers_in_the_same_order(folder: Path, tmp_path: Path) -> None:
    asked = written(
        tmp_path / "in.jsonl",
        line("long", "Hello there", 40),
        line("short", "Hello there", 1),
        line("text", "Where is", 9, url="/v1/completions"),
        line("bad", "x", 5, temperature=9),
        line("other", "x", 5, model="gpt-4"),
        {"custom_id": "é", "url": "/v1/classify", "body": {"input": "x"}},
    )
    done = batch(folder, asked, tmp_path / "out.jsonl")
    answers = read(tmp_path / "out.jsonl")
    assert [answer["custom_id"] for answer in answers] == ["long", "short", "text", "bad", "other", "é"]
    assert [answer["response"]["status_code"] for answer in answers] == [200, 200, 200, 400, 404, 404]
    assert all(set(answer) == {"id", "custom_id", "response", "error"} for answer in answers)
    assert all(answer["error"] is None and len(answer["response"]["request_id"]) == 32 for answer in answers)
    engine = Engine(exported(), slots=1, max_len=512, threads=1)
    prompt = engine.encode(engine.contract.render([{"role": "user", "content": "Hello there"}]))
    whole = engine.generate([prompt], max_tokens=40)[0].text
    assert answers[0]["response"]["body"]["choices"][0]["message"]["content"] == whole
    assert answers[3]["response"]["body"]["error"]["param"] == "temperature"
    generates = "'bot' generates and does not classify: POST /v1/chat/completions"
    assert answers[5]["response"]["body"]["error"]["message"] == generates
    assert (done.returncode, done.stdout) == (1, "")
    assert "6 lines answered" in done.stderr
    assert "3 failed, with the reason in the line" in done.stderr
    again = batch(folder, asked, tmp_path / "out.jsonl")
    assert "6 of them by an earlier run; 3 failed" in again.stderr
    assert read(tmp_path / "out.jsonl") == answers


def test_all_bad_lines_are_said_at_once_and_nothing_is_asked(folder: Path, tmp_path: Path) -> None:
    faults = [
        "{",
        "[1]",
        '{"custom_id": 5}',
        '{"custom_id": "\\ud800"}',
        '{"custom_id": "a", "method": "GET"}',
        '{"custom_id": "a", "url": "/v1/embeddings"}',
        '{"custom_id": "a", "url": "/v1/completions"}',
        '{"custom_id": "a", "url": "/v1/completions", "body": {"stream": true}}',
        "[" * 100_000,
    ]
    asked = tmp_path / "in.jsonl"
    asked.write_bytes(b"\n".join([*(fault.encode() for fault in faults), b"\xff\xfe", json.dumps(line("good", "x")).encode()]))
    done = batch(folder, asked, tmp_path / "out.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert [f"in.jsonl:{number}:1" in done.stderr for number in range(1, 13)] == [True] * 10 + [False] * 2
    assert "url is '/v1/embeddings'; known: /v1/chat/completions" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
    assert batch(folder, tmp_path / "none.jsonl", tmp_path / "out.jsonl").returncode == 2
    with pytest.raises(SpecError, match="and 950 more like these"):
        check(written(asked, *[{"custom_id": ""}] * 3000))


def test_only_files_are_read_and_written(folder: Path, tmp_path: Path) -> None:
    asked, pipe = written(tmp_path / "in.jsonl", line("one", "Hello there", 1)), tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in ((pipe, tmp_path / "out.jsonl"), (asked, pipe), (asked, "/dev/null")):
        done = batch(folder, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "not a file; name one" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_killed_batch_goes_on_where_its_answers_end_and_asks_nothing_twice(folder: Path, tmp_path: Path) -> None:
    asked = written(tmp_path / "in.jsonl", *(line(f"k{i}", f"Killed {i}", 20 + 13 * (i % 5)) for i in range(120)))
    out, straight = tmp_path / "out.jsonl", tmp_path / "straight.jsonl"
    had: list[str] = []
    for _ in range(3):
        with subprocess.Popen(command(asked, out, "--at-once", 3), cwd=folder, env=environment(folder)) as running:
            eventually(lambda had=had: out.exists() and out.read_bytes().count(b"\n") > len(had) + 4)
            running.send_signal(signal.SIGKILL)
        *whole, _ = out.read_bytes().split(b"\n")
        had = [f"Killed {json.loads(row)['custom_id'][1:]}" for row in whole]
        out.write_bytes(b"\n".join(whole) + b"\n" + whole[0][:40])  # torn, as a kill in the middle of a write leaves it
    assert len(had) < 120
    before = questions(folder, tmp_path / "mark-1")
    assert batch(folder, asked, out, "--at-once", 3).returncode == 0
    after = questions(folder, tmp_path / "mark-2")
    assert {name: after[name] for name in had} == {name: before[name] for name in had}
    assert [answer["custom_id"] for answer in read(out)] == [f"k{i}" for i in range(120)]
    assert batch(folder, asked, straight).returncode == 0
    assert [said(answer) for answer in read(out)] == [said(answer) for answer in read(straight)]


def questions(folder: Path, mark: Path) -> Counter[str]:
    """How often each was asked: the journal, once it holds a last question of ours, and so all that were answered before it."""

    def seen() -> Counter[str]:
        return Counter(entry["question"] for entry in journal.read(folder / ".llmspec" / "journal" / "bot-local"))

    assert batch(folder, written(mark, line("mark", mark.name, 1)), mark.with_suffix(".out")).returncode == 0
    eventually(lambda: seen()[mark.name] == 1)
    return seen()


def test_answers_of_another_batch_are_not_continued(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert batch(folder, written(tmp_path / "a.jsonl", line("a", "x"), line("b", "x")), out).returncode == 0
    kept = out.read_bytes()
    done = batch(folder, written(tmp_path / "b.jsonl", line("a", "x"), line("c", "x")), out)
    assert done.returncode == 2
    assert f"{out}:2: answers 'b', but line 2 of {tmp_path / 'b.jsonl'} is 'c'" in done.stderr
    done = batch(folder, written(tmp_path / "c.jsonl", line("a", "x")), out)
    assert "has no line for it" in done.stderr
    assert "the requests are in this file" in batch(folder, tmp_path / "a.jsonl", tmp_path / "a.jsonl").stderr
    assert out.read_bytes() == kept


def test_one_batch_at_a_time_writes_a_file(folder: Path, tmp_path: Path) -> None:
    asked, out = written(tmp_path / "in.jsonl", *(line(str(i), f"Busy {i}", 900) for i in range(9))), tmp_path / "out.jsonl"
    with subprocess.Popen(command(asked, out, "--at-once", 1), cwd=folder, env=environment(folder)) as running:
        eventually(out.exists)
        eventually(lambda: "another batch is writing it" in batch(folder, asked, out).stderr)
        running.kill()


def test_an_endpoint_that_is_full_is_waited_for(tmp_path: Path) -> None:
    made = deployed(tmp_path / "full", release(concurrency=1, queue=0))
    asked = written(tmp_path / "in.jsonl", *(line(str(i), f"Full {i}", 30) for i in range(8)))
    with endpoint(made / ".llmspec", release(concurrency=1, queue=0)):
        done = batch(made, asked, tmp_path / "out.jsonl", "--at-once", 4)
        statuses = Counter(entry["status"] for entry in journal.read(made / ".llmspec" / "journal" / "bot-local"))
    assert (done.returncode, [answer["response"]["status_code"] for answer in read(tmp_path / "out.jsonl")]) == (0, [200] * 8)
    assert statuses[429] > 0


def test_a_worker_that_dies_costs_no_line(tmp_path: Path) -> None:
    made = deployed(tmp_path / "dying", release())
    asked = written(tmp_path / "in.jsonl", *(line(str(i), f"Dying {i}", 60) for i in range(40)))
    out = tmp_path / "out.jsonl"
    with endpoint(made / ".llmspec", release()):
        with subprocess.Popen(command(asked, out), cwd=made, env=environment(made)) as running:
            eventually(lambda: out.exists() and out.read_bytes().count(b"\n") > 3)
            worker = local_endpoint.state(made / ".llmspec" / "run" / "bot-local")["worker"]
            os.kill(worker, signal.SIGKILL)
        assert running.returncode == 0
    assert [(answer["custom_id"], answer["response"]["status_code"]) for answer in read(out)] == [(str(i), 200) for i in range(40)]


def test_without_an_endpoint_the_live_release_answers_apart_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    made = deployed(tmp_path / "apart", release(requests_per_minute=1))
    asked = written(tmp_path / "in.jsonl", *(line(str(i), f"Apart {i}", 12) for i in range(6)))
    done = batch(made, asked, tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "No endpoint is up: release 1 answers for this batch only." in done.stderr
    assert not (made / ".llmspec" / "journal").exists()
    assert processes(made) == []
    assert batch(folder, asked, tmp_path / "live.jsonl").returncode == 0
    assert [said(answer) for answer in read(tmp_path / "out.jsonl")] == [said(answer) for answer in read(tmp_path / "live.jsonl")]


def test_a_product_that_was_never_live_names_the_cure(tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text(SPEC)
    done = batch(tmp_path, written(tmp_path / "in.jsonl", line("a", "x")), tmp_path / "out.jsonl")
    assert (done.returncode, "bring it up with: llmspec apply bot.yaml" in done.stderr) == (1, True)


def test_files_larger_than_the_memory_are_passed_over_in_a_few_megabytes(tmp_path: Path) -> None:
    asked, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    body = {"model": "bot", "prompt": "x" * 10_000}
    with asked.open("w") as lines, out.open("w") as answers:
        for number in range(3000):
            lines.write(json.dumps({"custom_id": str(number), "url": "/v1/completions", "body": body}) + "\n")
            response = {"status_code": 200, "request_id": "", "body": {"text": "y" * 5000}}
            answers.write(json.dumps({"id": "", "custom_id": str(number), "response": response, "error": None}) + "\n")
    tracemalloc.start()
    tally = Batch(asked, out, 4, lambda _: None).run(lambda: nullcontext(Asker("http://unused")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tally.done, tally.found, tally.failed) == (3000, 3000, 0)
    assert peak < 2e6 < asked.stat().st_size / 10


def test_an_endpoint_that_is_gone_ends_the_batch_with_what_it_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_client, "ABSENCE", 0.5)
    asked = written(tmp_path / "in.jsonl", *(line(str(i), f"Gone {i}", 3) for i in range(4)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(PlaceError, match=r"cannot be reached: .*; run it again to go on"):
        Batch(asked, tmp_path / "out.jsonl", 2, lambda _: None).run(lambda: nullcontext(Asker(nobody)))
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert batch(folder, asked, tmp_path / "out.jsonl").returncode == 0
    assert len(read(tmp_path / "out.jsonl")) == 4


def test_a_batch_speaks_https_shows_its_key_and_stops_where_it_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secured = release(tls=certificate(tmp_path, "live"))
    made, out = deployed(tmp_path / "secured", secured), tmp_path / "out.jsonl"
    asked = written(tmp_path / "in.jsonl", *(line(str(i), f"Secured {i}", 3) for i in range(5)))
    with endpoint(made / ".llmspec", secured):
        _, key = Keys(access_folder("bot", "local")).create("batch", "user")
        refused = batch(made, asked, out)
        assert (refused.returncode, out.read_bytes()) == (2, b"")
        assert "the endpoint refused (401)" in refused.stderr
        assert "set LLMSPEC_API_KEY to a key that may ask" in refused.stderr
        monkeypatch.setenv("LLMSPEC_API_KEY", key)
        assert batch(made, asked, out).returncode == 0
    assert batch(made, asked, tmp_path / "apart.jsonl").returncode == 0
    assert [said(answer) for answer in read(tmp_path / "apart.jsonl")] == [said(answer) for answer in read(out)]
