"""lm-eval, the harness that most published scores come from, as a client: its numbers are the engine's own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_parts import checkpoint, endpoint, exported, release

from backends.serving.engine import Engine

ROWS = [
    {"question": "Where is my order?", "good": " We ship it within two days.", "bad": " purple"},
    {"question": "May I return it?", "good": " You may, within thirty days.", "bad": " qq"},
    {"question": "Do you ship?", "good": " Where", "bad": " thirty thirty"},
]
CHOOSING = """\
task: choosing
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{[good, bad]}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc}]
"""
SAYING = """\
task: saying
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{good}}"
generation_kwargs: {until: ["."], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("lm_eval") / ".llmspec", release()) as found:
        yield found


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=1, max_len=500, threads=1)


@pytest.fixture(scope="module")
def heard(url: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Any]]]:
    """What the harness heard: of two tasks by completions, two at a time, and of one by the chat."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name, task in (("choosing", CHOOSING), ("saying", SAYING)):
        (folder / f"{name}.yaml").write_text(task.replace("ROWS", str(folder / "rows.jsonl")))
    common = f"model=bot,max_retries=1,tokenizer={checkpoint()},tokenizer_backend=huggingface,base_url={url}/v1"
    runs = [
        {"model": "local-completions", "model_args": f"{common}/completions", "tasks": ["choosing", "saying"], "batch_size": 2},
        {"model": "local-chat-completions", "model_args": f"{common}/chat/completions", "tasks": ["saying"]},
    ]
    runs[1]["apply_chat_template"] = True
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "OPENAI_API_KEY": "none"}
    command = [sys.executable, str(Path(__file__).with_name("lm_eval_run.py")), str(folder)]
    done = subprocess.run(
        command, input=json.dumps(runs), env=os.environ | offline, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, list[Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_its_log_likelihoods_are_the_engines(heard: list[dict[str, list[Any]]], engine: Engine) -> None:
    for asked, responses in zip(ROWS, heard[0]["choosing"], strict=True):
        for answer, (logprob, greedy) in zip((asked["good"], asked["bad"]), responses, strict=True):
            start, whole = engine.encode(asked["question"]), engine.encode(asked["question"] + answer)
            expected = engine.logprobs([whole])[0][len(start) - 1 :]
            assert logprob == pytest.approx(float(expected.sum()), abs=1e-4)
            assert greedy == (engine.generate([start], len(expected))[0].ids == whole[len(start) :])


def test_what_it_lets_be_said_is_what_the_engine_says(heard: list[dict[str, list[Any]]], engine: Engine) -> None:
    expected = [engine.generate([engine.encode(row["question"])], 12, stop=(".",))[0].text for row in ROWS]
    assert [said for (said,) in heard[0]["saying"]] == expected


def test_its_chat_is_rendered_by_the_endpoint(heard: list[dict[str, list[Any]]], engine: Engine) -> None:
    asked = [engine.contract.render([{"role": "user", "content": row["question"]}]) for row in ROWS]
    expected = [engine.generate([engine.encode(text)], 12, stop=(".",))[0].text for text in asked]
    assert [said for (said,) in heard[1]["saying"]] == expected
