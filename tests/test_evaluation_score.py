"""evaluation: the artifact is asked held-out rows through the serving engine, and scored."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from onnx_parts import QUESTIONS, Silent, artifact, model, report, row_of
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from backends.serving.contract import Contract
from backends.work.predictions import Asked, cell, latency
from backends.work.report import Report
from backends.work.score_onnx import chosen, score
from llmspec.errors import BlockedError

METRICS = ["token_f1", "exact_match", "perplexity", "rouge_l"]


def data_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    columns = {name: [row.get(name) for row in rows] for name in ("id", "question", "answer", "context", "source")}
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), folder / "test.parquet")
    return folder


def known_rows() -> list[dict[str, Any]]:
    return [
        {"id": f"faq-{index:02}", "question": question, "answer": answer, "source": "faq"}
        for index, (question, answer) in enumerate(QUESTIONS.items())
    ]


def options(endpoint: dict[str, Any] | None = None, **evaluation: Any) -> dict[str, Any]:
    return {
        "evaluation": {"metrics": METRICS, **evaluation},
        "endpoint": {"system_prompt": None, "limits": {"input_tokens": 100, "output_tokens": 24}} | (endpoint or {}),
    }


def scored(
    folder: Path, rows: list[dict[str, Any]], wanted: dict[str, Any], precision: str = "fp32"
) -> tuple[Path, dict[str, Any]]:
    output = folder / "out"
    output.mkdir()
    inputs = {"onnx": artifact(precision)[0], "data": data_of(folder / "data", rows)}
    return output, score(wanted, inputs, output, report())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_was_learned_by_heart_scores_full_marks(tmp_path: Path, precision: str) -> None:
    output, numbers = scored(tmp_path, known_rows(), options(), precision)
    assert (numbers["token_f1"], numbers["exact_match"], numbers["rouge_l"]) == (1.0, 1.0, 1.0)
    assert (numbers["stopped"], numbers["refused"], numbers["rows"]) == (1.0, 0.0, 12)
    assert 1.0 <= numbers["perplexity"] < 1.1
    saved = json.loads((output / "scores.json").read_text())
    assert saved == {name: value for name, value in numbers.items() if name != "rows"}


def test_perplexity_is_that_of_the_model_on_the_expected_answers(tmp_path: Path) -> None:
    rows = [{**row, "answer": "Something else entirely."} for row in known_rows()[:3]]
    _, numbers = scored(tmp_path, rows, options())
    contract, tokenizer = Contract.load(model()), Tokenizer.from_file(str(model() / "tokenizer.json"))
    llama, surprises = AutoModelForCausalLM.from_pretrained(model()), []
    for row in rows:
        spelt = row_of(tokenizer, contract, row["question"], row["answer"])
        tokens = torch.from_numpy(spelt.tokens).long()
        with torch.inference_mode():
            chances = llama(tokens[None]).logits[0, :-1].log_softmax(-1)[torch.arange(len(tokens) - 1), tokens[1:]]
        surprises += [-float(chance) for chance, taught in zip(chances, spelt.loss[1:], strict=True) if taught]
    assert numbers["perplexity"] == pytest.approx(math.exp(sum(surprises) / len(surprises)), rel=1e-3)
    assert numbers["perplexity"] > 50


def test_a_wrong_expectation_lowers_the_scores_and_leads_the_worst_rows(tmp_path: Path) -> None:
    rows = known_rows()
    rows[4]["answer"] = "Only in gold | or silver."
    output, numbers = scored(tmp_path, rows, options())
    assert numbers["exact_match"] == pytest.approx(11 / 12, abs=1e-5)
    table = (output / "report/worst.md").read_text().splitlines()
    assert "gold \\| or silver" in table[2]
    assert len(table) == 2 + 10
    predictions = {row["id"]: row for row in pq.read_table(output / "predictions.parquet").to_pylist()}
    assert predictions["faq-04"]["answer"] == "Yes, by card or by bank transfer."
    assert predictions["faq-04"]["expected"] == "Only in gold | or silver."
    assert predictions["faq-04"]["exact_match"] == 0.0
    assert predictions["faq-04"]["perplexity"] > 10 * predictions["faq-05"]["perplexity"]


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        output, _ = scored(tmp_path / name, known_rows(), options(), "int8")
        found.append([hashlib.sha256((output / file).read_bytes()).hexdigest() for file in ("scores.json", "predictions.parquet")])
    assert found[0] == found[1]


def test_an_answer_cut_at_the_limit_counts_as_not_stopped(tmp_path: Path) -> None:
    output, numbers = scored(tmp_path, known_rows(), options({"limits": {"output_tokens": 3}}))
    assert numbers["stopped"] == 0.0
    assert {row["finish"] for row in pq.read_table(output / "predictions.parquet").to_pylist()} == {"length"}


def test_a_question_longer_than_the_endpoint_takes_is_reported_and_not_answered(tmp_path: Path) -> None:
    rows = [*known_rows()[:3], {"id": "long", "question": "Where is my parcel? " * 40, "answer": "Nowhere.", "source": "faq"}]
    output, numbers = scored(tmp_path, rows, options())
    assert numbers["refused"] == 0.25
    assert numbers["token_f1"] == 0.75
    assert "| long |" in (output / "report/refused.md").read_text()
    (refused,) = [row for row in pq.read_table(output / "predictions.parquet").to_pylist() if row["id"] == "long"]
    assert (refused["answer"], refused["finish"], refused["perplexity"]) == ("", "refused", None)


def test_without_a_limit_of_its_own_the_endpoint_takes_what_the_model_can_read(tmp_path: Path) -> None:
    rows = [{"id": str(times), "question": "Where? " * times, "answer": "Nowhere.", "source": "faq"} for times in (20, 50, 300)]
    output, numbers = scored(tmp_path, rows, {**options(), "endpoint": {"limits": {"output_tokens": 512}}})
    assert numbers["refused"] == pytest.approx(1 / 3, abs=1e-5)
    assert "| 300 |" in (output / "report/refused.md").read_text()


def test_nothing_but_questions_that_are_too_long_still_has_a_score(tmp_path: Path) -> None:
    rows = [{"id": "long", "question": "Where is my parcel? " * 40, "answer": "Nowhere.", "source": "faq"}]
    _, numbers = scored(tmp_path, rows, options())
    assert (numbers["token_f1"], numbers["refused"]) == (0.0, 1.0)
    assert "perplexity" not in numbers, "it was not measured, and a gate on it says so"


def test_context_and_system_prompt_reach_the_prompt(tmp_path: Path) -> None:
    rows = [{**row, "context": "An unheard-of context."} for row in known_rows()]
    output, with_context = scored(tmp_path, rows, options())
    assert with_context["perplexity"] > 1.1, "the micro model never saw a context, so it must be less sure"
    assert pq.read_table(output / "predictions.parquet").to_pylist()[0]["context"] == "An unheard-of context."
    (tmp_path / "other").mkdir()
    with pytest.raises(BlockedError, match=r"endpoint\.system_prompt is not the one"):
        scored(tmp_path / "other", known_rows(), options({"system_prompt": "Be brief."}))


def test_a_bound_takes_the_same_rows_each_time_and_from_everywhere() -> None:
    rows = [{"id": f"{source}-{index:03}"} for source in "ab" for index in range(100)]
    some = chosen(rows, 20)
    assert some == chosen(list(reversed(rows)), 20)
    assert len(some) == 20
    assert 4 <= sum(row["id"].startswith("a") for row in some) <= 16
    more = [row["id"] for row in chosen(rows, 40)]
    assert all(row["id"] in more for row in some)


def test_only_the_wanted_metrics_are_measured(tmp_path: Path) -> None:
    output, numbers = scored(tmp_path, known_rows(), options(metrics=["exact_match"]))
    assert set(numbers) == {"exact_match", "stopped", "refused", "rows"}
    assert "perplexity" not in pq.read_table(output / "predictions.parquet").column_names


def test_no_row_to_evaluate_with_is_said_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(BlockedError, match=r"no test row .* raise data\.split\.test"):
        scored(tmp_path, [], options())


def test_progress_counts_the_questions(tmp_path: Path) -> None:
    heard, output = Silent(), tmp_path / "out"
    output.mkdir()
    inputs = {"onnx": artifact("fp32")[0], "data": data_of(tmp_path / "data", known_rows())}
    score(options(), inputs, output, Report(heard))
    finals = [event for event in heard.events if event["done"] == event["total"]]
    assert [(event["unit"], event["total"]) for event in finals] == [("questions", 12), ("expected answers", 12)]
    assert not {path.name for path in output.iterdir()} ^ {"scores.json", "predictions.parquet", "report"}


def test_whatever_a_model_writes_stays_in_its_cell() -> None:
    assert cell("a|b\n<script>\t c") == "a\\|b &lt;script> c"
    assert len(cell("word " * 200)) == 300


def test_percentiles_of_times_are_those_of_the_monitors() -> None:
    found = latency([Asked({}, [], [], seconds=float(value), first_token=value / 10) for value in range(20, 0, -1)])
    assert (found["p50_seconds"], found["p95_seconds"], found["p95_first_token_seconds"]) == (10.0, 19.0, 1.9)
