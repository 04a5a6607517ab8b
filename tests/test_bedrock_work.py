"""A hosted model is looked up, bound to its contract, and asked held-out rows: real jobs against a Bedrock of the tests."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bedrock_parts
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bedrock_parts import MODEL, REGION, Bedrock
from conftest import ROOT, Project
from onnx_parts import report

from backends.serving.hosted.contract import HostedContract, HostedModel, TurnError, about_tokens
from backends.work.ask_bedrock import ask
from backends.work.score_bedrock import AT_ONCE, PAID, score
from llmspec.errors import BlockedError, PlaceError


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bedrock]:
    with bedrock_parts.listening() as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def shop(tmp_path: Path, bedrock: Bedrock) -> Iterator[Project]:
    """A project whose processes cannot import anything that computes a model."""
    made = Project(tmp_path / "shop", {"PYTHONPATH": f"{bedrock_parts.without_models(tmp_path / 'shut')}:{ROOT}"})
    made.folder.mkdir()
    yield made.write(bedrock_parts.SPEC)
    made.stop()


def asked_about(tmp_path: Path, base: str = MODEL) -> tuple[Path, dict[str, Any]]:
    output = tmp_path / "model"
    output.mkdir()
    return output, ask({"model": {"base": {"bedrock": base}}, "region": REGION}, {}, output, report())


def inputs_of(tmp_path: Path, rows: int = 6, **contract: Any) -> dict[str, Path]:
    table = {
        "id": [f"r{number}" for number in range(rows)],
        "question": [f"Where do I find lamp number {number}?" for number in range(rows)],
        "answer": [f"The lamp number {number} is on shelf {number % 7}." for number in range(rows)],
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(table), tmp_path / "data" / "test.parquet")
    return {"data": tmp_path / "data", "onnx": bedrock_parts.artifact_into(tmp_path / "onnx", **contract)}


def scored(tmp_path: Path, inputs: dict[str, Path], **limits: Any) -> tuple[Path, dict[str, Any]]:
    output = tmp_path / "out"
    output.mkdir(exist_ok=True)
    wanted = {"engine": "score_bedrock", "metrics": ["token_f1", "exact_match", "rouge_l"]}
    said = {"input_tokens": 400, "output_tokens": 64, **limits}
    return output, score({"evaluation": wanted, "endpoint": {"limits": said}}, inputs, output, report())


def test_the_model_is_what_bedrock_says_it_is(tmp_path: Path, bedrock: Bedrock) -> None:
    output, _ = asked_about(tmp_path)
    model = HostedModel.load(output)
    assert (model.arn, model.provider) == (f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}", "Amazon")
    assert bedrock.looked == ["/foundation-models/amazon.nova-lite-v1%3A0"]
    assert bedrock.asked == [], "looking costs nothing"


def test_a_profile_says_which_models_it_reaches(tmp_path: Path, bedrock: Bedrock) -> None:
    output, _ = asked_about(tmp_path, f"us.{MODEL}")
    reached = [f"arn:aws:bedrock:{region}::foundation-model/{MODEL}" for region in (REGION, "us-west-2")]
    assert HostedModel.load(output).reaches == reached


def test_a_model_that_is_not_there_or_only_by_a_profile_stops_before_a_question_is_paid(tmp_path: Path, bedrock: Bedrock) -> None:
    with pytest.raises(BlockedError, match=r"Bedrock has no meta\.unknown-v1:0 in us-east-1"):
        asked_about(tmp_path, "meta.unknown-v1:0")
    (tmp_path / "model").rename(tmp_path / "before")
    with pytest.raises(BlockedError, match=r"name one: `bedrock: us\.meta\.only-by-profile-v1:0`"):
        asked_about(tmp_path, "meta.only-by-profile-v1:0")


def test_credentials_that_aws_does_not_know_are_told_apart(
    tmp_path: Path, bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    with pytest.raises(PlaceError, match="AWS does not know these credentials"):
        asked_about(tmp_path)
    (tmp_path / "model").rename(tmp_path / "before")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(PlaceError, match="no AWS credentials here"):
        asked_about(tmp_path)


def test_two_turns_of_one_side_are_one_turn_and_nothing_is_left_out() -> None:
    contract = HostedContract("chat", "Be brief.", 0.0, None, [{"question": "One?", "answer": "1"}])
    said = [{"role": "user", "content": "Two?"}, {"role": "user", "content": "And three?"}]
    request = contract.request(said, 9, stop=("\n",))
    assert request["system"] == [{"text": "Be brief."}]
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in request["messages"]] == [
        ("user", ["One?"]),
        ("assistant", ["1"]),
        ("user", ["Two?", "And three?"]),
    ]
    assert request["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.0, "stopSequences": ["\n"]}
    own = contract.request([{"role": "system", "content": "Shout."}, {"role": "user", "content": "Two?"}], 9)
    assert own["system"] == [{"text": "Shout."}]
    for refused in ([], [{"role": "assistant", "content": "x"}], [{"role": "user", "content": " "}]):
        with pytest.raises(TurnError):
            HostedContract("chat", None, None, None).request(refused, 9)


def test_a_context_stands_where_the_template_puts_it() -> None:
    row = {"question": "Where?", "context": "A plan."}
    assert HostedContract("chat", None, 0.0, None).conversation(row)[0]["content"] == "A plan.\n\nWhere?"
    told = HostedContract("context_qa", None, 0.0, None).conversation(row)[0]["content"]
    assert told == "[Context]\nA plan.\n\n[Question]\nWhere?"


def test_the_hosted_model_is_scored_by_what_it_says_and_its_bill_is_its_own_count(tmp_path: Path, bedrock: Bedrock) -> None:
    output, numbers = scored(tmp_path, inputs_of(tmp_path))
    assert (numbers["token_f1"], numbers["exact_match"], numbers["rows"]) == (1.0, 1.0, 6)
    read = sum(bedrock_parts.words(body) for body in bedrock.asked)
    assert (numbers["input_tokens"], numbers["output_tokens"]) == (read, 6 * 8)
    assert numbers["cost_usd"] == pytest.approx(read * 0.00006 / 1000 + 48 * 0.00024 / 1000, abs=1e-6)
    assert "cost_usd" not in json.loads((output / "scores.json").read_text())
    assert {row["finish"] for row in pq.read_table(output / "predictions.parquet").to_pylist()} == {"stop"}


def test_another_prompt_scores_otherwise(tmp_path: Path, bedrock: Bedrock) -> None:
    _, numbers = scored(tmp_path, inputs_of(tmp_path, system_prompt=None))
    assert numbers["exact_match"] == 0.0
    assert 0.0 < numbers["token_f1"] < 1.0


def test_a_question_that_the_endpoint_would_refuse_is_not_asked(tmp_path: Path, bedrock: Bedrock) -> None:
    inputs = inputs_of(tmp_path, system_prompt="You know the plan of the shop. " * 9)
    assert about_tokens(HostedContract.load(inputs["onnx"]).request([{"role": "user", "content": "Where?"}], 1)) > 64
    _, numbers = scored(tmp_path, inputs, input_tokens=64)
    assert (numbers["refused"], len(bedrock.asked)) == (1.0, 0)


def test_a_busy_bedrock_is_asked_again_and_a_refusal_keeps_what_was_paid(tmp_path: Path, bedrock: Bedrock) -> None:
    inputs = inputs_of(tmp_path, 10)
    bedrock.busy = 1
    _, numbers = scored(tmp_path, inputs)
    assert numbers["exact_match"] == 1.0
    assert len(bedrock.asked) == 11
    bedrock.refuse = (403, "AccessDeniedException", "User: arn:aws:sts::111122223333:role/x is not authorized")
    (tmp_path / "out").rename(tmp_path / "before")
    with pytest.raises(BlockedError, match=r"needs bedrock:InvokeModelWithResponseStream on amazon\.nova-lite") as refused:
        scored(tmp_path, inputs)
    assert "111122223333" not in str(refused.value)
    assert "0 of 10 answers are kept" in str(refused.value)


def test_only_what_is_missing_is_asked_after_a_crash_also_when_its_last_line_was_cut(tmp_path: Path, bedrock: Bedrock) -> None:
    inputs = inputs_of(tmp_path)
    output, first = scored(tmp_path, inputs)
    lines = (output / PAID).read_text().splitlines(keepends=True)
    (output / PAID).write_text("".join(lines[:3]) + lines[3][:20])
    before = len(bedrock.asked)
    _, again = scored(tmp_path, inputs)
    assert len(bedrock.asked) - before == 3
    assert again == first, "what was paid for before is in the bill too"
    assert (output / PAID).read_text().count("\n") == 6


def test_an_answer_that_breaks_off_is_no_answer(tmp_path: Path, bedrock: Bedrock) -> None:
    bedrock.breaks = "cut"
    with pytest.raises(BlockedError, match="fell silent"):
        scored(tmp_path, inputs_of(tmp_path, 1))


@pytest.mark.timeout(240)
def test_an_evaluation_that_is_killed_does_not_pay_twice(shop: Project, bedrock: Bedrock) -> None:
    shop.edit("  prompt: {examples: 2}", "  prompt: {examples: 0}").edit(
        "data:\n", "data:\n  split: {train: 0.2, validation: 0.1, test: 0.7}\n"
    )
    bedrock.pause = 0.1
    command = shop.command("apply", "tiny.yaml", "--yes", "--select", "+evaluation")
    child = subprocess.Popen(command, cwd=shop.folder, env=shop.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(bedrock.asked) < 9:
        time.sleep(0.01)
        assert child.poll() is None
    worker = next(iter(work_of(shop)))
    os.kill(worker, signal.SIGKILL)
    child.wait(60)
    bedrock.pause = 0.0
    paid = len(bedrock.asked)
    shop.run("apply", "tiny.yaml", "--yes", "--select", "+evaluation")
    rows = json.loads(next(shop.store.glob("tiny/evaluation/*/manifest.json")).read_text())["metrics"]["rows"]
    assert rows > 12
    again = len(bedrock.asked) - paid
    assert paid - AT_ONCE <= rows - again <= paid
    assert again < rows
    assert shop.actions("--select", "+evaluation")["evaluation"] == "reuse"


def work_of(shop: Project) -> Iterator[int]:
    """Processes that do a job of this project."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if "backends.work" in command and (process / "cwd").resolve() == shop.folder.resolve():
                yield int(process.name)
        except OSError:
            continue
