"""Real parts for the features and model tests: a handful of rows, micro checkpoints, and the door."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import AddedToken
from transformers import LlamaConfig, LlamaForCausalLM

from backends.work.bpe import train_bpe
from backends.work.door import hashed
from backends.work.report import Report
from backends.work.token_rows import Row, TokenRows
from backends.work.tokenize_hf import tokenize
from backends.work.train_hf import train
from llmspec.job import Input, Job
from llmspec.store import content_digest

COLUMNS = pa.schema([(name, pa.string()) for name in ("id", "question", "answer", "context", "source")])
ITEMS = ("laptop", "phone", "router", "camera", "tablet", "monitor", "keyboard", "charger")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def question(item: str) -> dict[str, Any]:
    return {"question": f"How do I return my {item}?", "answer": f"Bring the {item} back within 30 days."}


def write_data(folder: Path, rows: list[dict[str, Any]] | None = None, held_out: list[dict[str, Any]] | None = None) -> Path:
    """What the stage `data` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": rows or [question(item) for item in ITEMS],
        "validation": held_out or [question("headset"), question("mouse")],
    }
    for part, some in parts.items():
        full = [{"id": f"{part}-{n:03}", "context": None, "source": "faq"} | row for n, row in enumerate(some)]
        pq.write_table(pa.Table.from_pylist(full, COLUMNS), folder / f"{part}.parquet")
    return folder


def write_base(
    folder: Path,
    *,
    template: str | None = None,
    special: tuple[str, ...] = (),
    eos: int | list[int] = 2,
    hidden: int = 32,
    layers: int = 1,
    rows_in_embedding: int | None = None,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """A checkpoint as another project might leave it: random weights, a tokenizer of its own."""
    tokenizer = train_bpe([row[key] for row in map(question, ITEMS) for key in ("question", "answer")], 360)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(text, special=True) for text in special]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    shape = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers, "head_dim": 16}
    heads = {"num_attention_heads": hidden // 16, "num_key_value_heads": 1, "max_position_embeddings": 512}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=rows_in_embedding or len(tokenizer), **(shape | heads | config)))
    network.generation_config.eos_token_id = eos
    network.to(dtype).save_pretrained(folder)
    return folder


class Silent:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def progress(self, event: dict[str, Any]) -> None:
        pass

    def log(self, text: str) -> None:
        self.lines.append(text)


def feature_options(
    base: dict[str, Any], template: str = "chat", system_prompt: str | None = None, **features: Any
) -> dict[str, Any]:
    return {
        "data": {"template": template},
        "features": {"max_tokens": 64} | features,
        "model": {"base": base},
        "endpoint": {"system_prompt": system_prompt},
    }


def make_features(folder: Path, data: Path, base: Path | None = None, **options: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"data": data} | ({"base": base} if base else {})
    asked = feature_options({"path": "base"} if base else {"scratch": "tiny"}, **options)
    return tokenize(asked, inputs, folder, Report(Silent()))


def make_model(
    folder: Path, features: Path, base: Path | None = None, *, channel: Silent | None = None, **model: Any
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"model": {"base": {"path": "base"} if base else {"scratch": "tiny"}} | model}
    inputs = {"features": features} | ({"base": base} if base else {})
    return train(asked, inputs, folder, Report(channel or Silent()))


def rows_in(folder: Path, part: str = "train") -> list[Row]:
    """In the order in which they were laid down."""
    laid = TokenRows.load(folder / f"{part}.safetensors")
    return [laid.row(number) for number in range(laid.num_rows)]


def job(stage: str, options: dict[str, Any], inputs: dict[str, Path], output: Path) -> Job:
    work = {"features": "tokenize_hf:tokenize", "model": "train_hf:train"}[stage]
    given = {name: Input(str(path), digest=name) for name, path in inputs.items()}
    return Job("test", stage, work.partition(":")[0], 1, f"backends.work.{work}", options, options, given, output=str(output))


def open_door(asked: Job, **environment: str) -> "subprocess.Popen[str]":
    """The work process, as a place starts it."""
    output = Path(asked.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    paper = output.with_suffix(".job.json")
    paper.write_text(asked.to_json(), encoding="utf-8")
    known = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "backends.work", str(paper)], env=known, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def through_the_door(asked: Job, **environment: str) -> tuple[dict[str, Any], str]:
    """The manifest, and what the work said."""
    process = open_door(asked, **environment)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return json.loads((Path(asked.output) / "manifest.json").read_text(encoding="utf-8")), said


def content_of(folder: Path) -> str:
    """The digest that a manifest would have, were this the artifact."""
    return content_digest(hashed(folder))
