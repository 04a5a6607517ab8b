"""Encoders: from a checkpoint to `/v1/classify`, and the same answer whoever else is asking."""

import asyncio
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import encoder_parts
import httpx
import numpy as np
import pytest
from conftest import ROOT
from encoder_parts import LABELS, NUMBERS, WORDS, Silent, checkpoint, classify, exported
from interpreter_lock import held_by
from prometheus_text import families
from serving_parts import endpoint, eventually
from starlette.requests import Request
from starlette.types import Message

from backends.serving.batcher import Batcher
from backends.serving.classifier import BUCKETS, Classifier
from backends.serving.classify_api import Classification, Classify
from backends.serving.record import RECORD, Record
from backends.serving.replies import ApiError
from backends.work.export_encoder import LARGEST_DIFFERENCE, export
from backends.work.report import Report
from llmspec import journal
from llmspec.batch import Batch
from llmspec.batch_client import Asker
from llmspec.errors import BlockedError
from llmspec.shelf import files_in, sha256_of
from llmspec.spec.endpoint import Limits


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classify") / ".llmspec"


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with endpoint(home, encoder_parts.release()) as found:
        yield found


def spoken(number: int, words: int) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))


def of_transformers(text: str, multi_label: bool = False) -> dict[str, float]:
    """What the checkpoint itself says, in torch."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint(multi_label)).eval()
    ids = AutoTokenizer.from_pretrained(checkpoint(multi_label))(text, return_tensors="pt", truncation=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0]
    chances = logits.sigmoid() if multi_label else logits.softmax(-1)
    return dict(zip(LABELS, chances.tolist(), strict=True))


def test_texts_get_the_labels_that_the_checkpoint_gives_them(url: str) -> None:
    texts = ["Where is my order?", spoken(1, 40), "hello"]
    made = classify(url, texts, model="bot").json()
    assert (made["object"], made["model"]) == ("list", "bot")
    assert [item["index"] for item in made["data"]] == [0, 1, 2]
    for text, item in zip(texts, made["data"], strict=True):
        expected = of_transformers(text)
        assert item["scores"] == pytest.approx(expected, abs=1e-5)
        assert item["label"] == max(expected, key=expected.__getitem__)
        assert "labels" not in item
    classifier = Classifier(exported())
    tokens = sum(len(classifier.encode(text)) for text in texts)
    assert made["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert classify(url, texts[0]).json()["data"] == made["data"][:1]
    assert httpx.post(f"{url}/invocations", json={"input": texts[0]}).json()["data"] == made["data"][:1]


def test_several_labels_may_hold_at_once(tmp_path: Path) -> None:
    with endpoint(tmp_path, encoder_parts.release(multi_label=True)) as url:
        found = [classify(url, spoken(number, 9)).json()["data"][0] for number in range(12)]
    for number, item in enumerate(found):
        assert item["scores"] == pytest.approx(of_transformers(spoken(number, 9), multi_label=True), abs=1e-5)
        assert item["labels"] == [label for label in LABELS if item["scores"][label] >= 0.5]
    assert {len(item["labels"]) for item in found} - {1}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_answer_is_the_same_to_the_last_bit_whoever_else_is_in_the_batch(precision: str, threads: int) -> None:
    classifier = Classifier(exported(precision), threads=threads)
    rows = [classifier.encode(spoken(number, 1 + number * 7 % 60)) for number in range(60)]
    alone = [classifier.scores([row])[0] for row in rows]

    async def load(seed: int) -> None:
        batcher, chance = Batcher(classifier, most=chance_of(seed)), random.Random(seed)
        asked = [chance.choices(range(60), k=chance.randint(1, 9)) for _ in range(25)]

        async def ask(which: list[int]) -> None:
            await asyncio.sleep(chance.random() / 100)
            found = await batcher.scores([rows[number] for number in which])
            assert all(np.array_equal(scores, alone[number]) for number, scores in zip(which, found, strict=True))

        await asyncio.gather(*map(ask, asked))
        assert batcher.stats.waiting == 0
        assert batcher.stats.steps < sum(map(len, asked))
        batcher.close()

    for seed in range(5):
        asyncio.run(load(seed))


def chance_of(seed: int) -> int:
    return (1 + seed * 5) if seed else 16


def test_texts_that_wait_are_joined_into_few_runs() -> None:
    classifier = Classifier(exported())
    row = classifier.encode("where is my order")

    async def ask() -> int:
        batcher = Batcher(classifier, most=8)
        await asyncio.gather(*(batcher.scores([row]) for _ in range(40)))
        batcher.close()
        return batcher.stats.steps

    assert 5 <= asyncio.run(ask()) < 20


def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    classifier = Classifier(exported())
    row = classifier.encode("where is my order")

    async def ask() -> int:
        batcher = Batcher(classifier, most=1)
        asked = [asyncio.create_task(batcher.scores([row])) for _ in range(400)]
        await asked[0]
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await batcher.scores([row])
        assert batcher.stats.waiting == 0
        batcher.close()
        return batcher.stats.steps

    assert asyncio.run(ask()) < 400


class Slow(Classifier):
    """Takes a twentieth of a second for a short text, and as much longer as a text is longer."""

    def scores(self, rows: list[list[int]]) -> "np.ndarray[Any, Any]":
        time.sleep(len(rows) * self.bucket(rows[0]) / BUCKETS[0] / 20)
        return super().scores(rows)


def test_who_sends_a_hundred_texts_makes_another_client_wait_for_one_of_them_whatever_their_lengths() -> None:
    classifier = Slow(exported())
    short, long = classifier.encode("where is my order"), classifier.encode(spoken(1, 20))

    async def ask() -> int:
        batcher = Batcher(classifier, most=1)
        hundred = [asyncio.create_task(batcher.scores([short], "greedy")) for _ in range(100)]
        await asyncio.sleep(0.01)
        await batcher.scores([long], "modest")
        answered = sum(task.done() for task in hundred)
        for task in hundred:
            task.cancel()
        await asyncio.gather(*hundred, return_exceptions=True)
        batcher.close()
        return answered

    assert asyncio.run(ask()) <= 2, "the one that was being read, and one more"


def test_a_queue_that_is_too_slow_is_said_at_once_with_a_time_to_come_back_also_to_the_first_who_come() -> None:
    classifier = Slow(exported())

    async def ask() -> list[int | str]:
        service = Classification(
            encoder_parts.release(), Limits.model_validate({"timeout": "1s", "concurrency": 1, "queue": 99}), classifier
        )
        many = asyncio.create_task(service.classify(request("greedy"), Classify(input=["hello"] * 10)))
        await asyncio.sleep(0.01)
        found: list[int | str] = []
        try:
            await service.classify(request("greedy"), Classify(input=["hello"] * 50))
        except ApiError as refused:
            found = [refused.status, refused.code or "", min(2, refused.retry_after or 0)]
        found.append((await service.classify(request("modest"), Classify(input="hello"))).status_code)
        await many
        service.close()
        return found

    assert asyncio.run(ask()) == [429, "queue_full", 2, 200]


def request(client: str) -> Request:
    """One whose client stays."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    return Request({"type": "http", "headers": [], "client": (client, 1), RECORD: Record("/v1/classify")}, receive)


def test_a_text_that_is_too_long_is_refused_with_the_limit_never_cut_off_and_not_journaled(url: str, home: Path) -> None:
    long = spoken(3, 50)
    assert len(Classifier(exported()).encode(long)) > 20  # where the tokenizer's own file would cut it off
    assert classify(url, long).json()["data"][0]["scores"] == pytest.approx(of_transformers(long), abs=1e-5)
    refused = classify(url, ["hello", spoken(4, 200)])
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert re.fullmatch(r"the text has \d+ tokens; at most 64 are taken, and none are cut off: shorten it", error["message"])
    assert (error["param"], error["code"]) == ("input.1", "context_length_exceeded")

    def noted() -> list[str]:
        return [entry["question"] for entry in journal.read(home / "journal" / "bot-local") if entry["status"] == 400]

    eventually(noted)
    assert noted() == [""]


def test_others_have_their_turn_while_a_long_text_is_tokenized() -> None:
    classifier, long = Classifier(exported()), spoken(5, 100_000)
    assert classifier.encode(long) == classifier.tokenizer.encode(long).ids
    assert held_by(lambda: classifier.encode(long)) < 0.5


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": ["hello"] * 33}, 400, "input"),
        ({"input": 5}, 400, "input"),
        ({"input": "\ud800"}, 400, "input"),
        ({"input": "hello", "model": "\ud800"}, 400, "model"),
        ({}, 400, "input"),
        ({"input": "hello", "model": "gpt-4"}, 404, "model"),
        ({"input": "hello", "temperature": 1}, 400, "temperature"),
    ],
)
def test_what_cannot_be_classified_is_refused_with_its_field(url: str, body: dict[str, Any], status: int, param: str) -> None:
    refused = httpx.post(f"{url}/v1/classify", content=json.dumps(body))
    assert refused.status_code == status
    assert refused.json()["error"]["param"].partition(".")[0] == param


def test_a_product_that_classifies_says_so_to_those_who_chat(url: str) -> None:
    chat = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert (chat.status_code, chat.json()["error"]["code"]) == (404, "wrong_task")
    assert chat.json()["error"]["message"] == "'bot' classifies and does not generate: POST /v1/classify"
    assert httpx.post(f"{url}/v1/completions", json={}).status_code == 404


def test_many_at_once_are_each_answered_as_if_alone_and_the_numbers_add_up(url: str) -> None:
    texts = [spoken(number, 1 + number % 30) for number in range(24)]
    alone = [classify(url, text).json()["data"][0]["scores"] for text in texts]
    before = families(httpx.get(f"{url}/metrics").text)

    async def ask_all() -> list[dict[str, float]]:
        async with httpx.AsyncClient(timeout=30) as client:
            made = await asyncio.gather(*(client.post(f"{url}/v1/classify", json={"input": text}) for text in texts))
        return [response.json()["data"][0]["scores"] for response in made]

    assert asyncio.run(ask_all()) == alone
    after = families(httpx.get(f"{url}/metrics").text)
    tokens = sum(len(Classifier(exported()).encode(text)) for text in texts)
    assert after["vllm:prompt_tokens_total"].value() - before["vllm:prompt_tokens_total"].value() == tokens
    ended = [page["vllm:request_success_total"].value(finished_reason="stop") for page in (before, after)]
    assert ended[1] - ended[0] == 24
    assert after["vllm:num_requests_running"].value() + after["vllm:num_requests_waiting"].value() == 0


def test_what_was_classified_is_journaled_and_operators_see_the_release(url: str, home: Path) -> None:
    made = classify(url, ["I am ana@shop.example", "hello"])
    name = made.headers["x-request-id"]

    def entries() -> list[dict[str, Any]]:
        return [entry for entry in journal.read(home / "journal" / "bot-local") if entry["id"] == name]

    eventually(entries)
    labels = "\n".join(item["label"] for item in made.json()["data"])
    (entry,) = entries()
    assert (entry["question"], entry["answer"], entry["status"]) == ("I am [EMAIL]\nhello", labels, 200)
    assert httpx.get(f"{url}/health").json()["contract"] == Classifier(exported()).contract.hash
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "bot"
    page = httpx.get(f"{url}/openapi.json").json()
    assert page["paths"]["/v1/classify"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"/health", "/metrics"} <= page["paths"].keys()
    assert "/v1/chat/completions" not in page["paths"]
    assert "POST /v1/classify" in httpx.get(f"{url}/docs").text


def test_more_than_the_queue_holds_is_refused_and_time_that_is_up_is_said(tmp_path: Path) -> None:
    with endpoint(tmp_path, encoder_parts.release(concurrency=1, queue=1, timeout="1ms")) as url:
        late = classify(url, ["hello", spoken(5, 40)])
        assert (late.status_code, late.json()["error"]["message"]) == (504, "not classified within 0.001 s (limits.timeout)")
        assert classify(url, ["hello"] * 3).json()["error"]["message"].startswith("3 texts in one request, and at most 2")


def test_a_client_that_leaves_takes_nothing_with_it(url: str) -> None:
    body = json.dumps({"input": ["hello there"] * 32}).encode()
    host, port = url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as left:
            left.sendall(f"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    eventually(lambda: classify(url, ["hello"] * 32).status_code == 200)


def test_a_file_of_texts_is_classified_line_for_line(url: str, tmp_path: Path) -> None:
    asked, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts = [spoken(number, 5) for number in range(30)]
    lines = [{"custom_id": text, "url": "/v1/classify", "body": {"input": text}} for text in texts]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tally = Batch(asked, out, 8, lambda _: None).run(lambda: nullcontext(Asker(url)))
    assert (tally.done, tally.failed) == (30, 0)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["custom_id"] for line in found] == texts
    assert found[7]["response"]["body"]["data"] == classify(url, texts[7]).json()["data"]


def test_an_artifact_agrees_with_its_checkpoint() -> None:
    assert [exported(precision).is_dir() for precision in ("fp32", "int8")] == [True, True]
    assert NUMBERS["fp32"]["largest_difference"] < 1e-5
    assert NUMBERS["fp32"]["parity_labels"] == 1
    assert NUMBERS["int8"]["parity_labels"] > 0.9


def test_an_export_has_the_same_bytes_each_time_and_is_refused_when_it_is_not_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LARGEST_DIFFERENCE, "fp32", 0.0)
    with pytest.raises(BlockedError, match=r"from the model's in fp32, and 0 is allowed: the export is not faithful"):
        export(checkpoint(), tmp_path, "fp32", Report(Silent()))
    first = {name: sha256_of(exported() / name) for name in files_in(exported())}
    assert {name: sha256_of(tmp_path / name) for name in files_in(tmp_path)} == first
    assert set(first) == {"model.onnx", "model.onnx.data", "tokenizer.json", "classifier.json"}
    graph = (tmp_path / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in graph
    assert b"site-packages" not in graph
