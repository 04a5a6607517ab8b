"""tokenize_hf: rows become token ids with a loss mask, laid into sequences, beside the contract that serving keeps."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from backends.serving.contract import CHAT, CONTEXT_QA, Contract
from backends.work.base_model import base_folder, settings_of
from backends.work.best_fit import best_fit
from backends.work.bpe import train_bpe
from backends.work.chat_form import contract_of, ending_of
from backends.work.report import Report
from backends.work.token_rows import Row, TokenRows
from llmspec.spec.features import Features, TrainedTokenizer
from llmspec.spec.model import Base

PARTS = ("train", "validation")
EXAMPLES = 20
"""How many cut rows the table shows."""
CHUNK = 2048

Question = dict[str, Any]
"""A row of `data`: question, answer, context."""


@dataclass(frozen=True)
class Cut:
    """A row longer than max_tokens."""

    part: str
    id: str
    tokens: int
    lost: bool
    """Its prompt alone fills the sequence: nothing of the answer is left to learn, so the row is left out."""
    question: str


def tokenize(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    features = Features.model_validate(options["features"])
    base = base_folder(TypeAdapter(Base).validate_python(options["model"]["base"]), inputs, weights=False)
    template, system_prompt = options["data"]["template"], options["endpoint"].get("system_prompt")
    shutil.rmtree(output)  # whatever a killed run left
    (output / "report").mkdir(parents=True)

    rows = {part: pq.read_table(inputs["data"] / f"{part}.parquet").to_pylist() for part in PARTS}
    if not rows["train"]:
        raise ValueError("data: no training rows; see what its cleaning steps dropped, and `split.train`")
    tokenizer = tokenizer_for(features, base, rows["train"], template, system_prompt)
    check_length(features.max_tokens, base)
    save_tokenizer(tokenizer, output / "tokenizer")
    contract = contract_of(tokenizer, output / "tokenizer", base, template, features.max_tokens, system_prompt)
    contract.save(output)
    save_template(contract, output / "tokenizer")

    speller = Speller(contract, ending_of(contract, tokenizer), output / "tokenizer", features)
    cuts: list[Cut] = []
    laid: dict[str, TokenRows] = {}
    total = sum(map(len, rows.values()))
    for part in PARTS:
        spelt: list[Row] = []
        for start in range(0, len(rows[part]), CHUNK):
            spelt += speller.spell(rows[part][start : start + CHUNK], part, cuts)
            report.progress(len(spelt) + sum(part.num_rows for part in laid.values()), total, "rows")
        laid[part] = lay(spelt, features)
        laid[part].save(output / f"{part}.safetensors")
    (output / "report" / "truncated.md").write_text(table_of(cuts, total, features.max_tokens), encoding="utf-8")
    if not laid["train"].num_rows:
        raise ValueError(
            f"features.max_tokens: no training row has any of its answer within {features.max_tokens} tokens; raise it"
        )
    return told(laid, cuts, contract, features, report)


def tokenizer_for(
    features: Features, base: Path | None, rows: Sequence[Question], template: str, system_prompt: str | None
) -> PreTrainedTokenizerBase:
    """The base's own, or one learned from the training rows in the form that they will have."""
    if base is not None:
        from transformers import AutoTokenizer  # it brings torch along, which is half of what a small spec's stage takes

        return AutoTokenizer.from_pretrained(base)
    wanted = features.tokenizer if isinstance(features.tokenizer, TrainedTokenizer) else TrainedTokenizer(train="bpe")
    form = Contract(CONTEXT_QA if template == "context_qa" else CHAT, "<s>", "</s>", 0, [], [], 0, "", 0, system_prompt)
    return train_bpe((prompt_of(form, row) + row["answer"] + form.ending for row in rows), wanted.vocab_size)


def check_length(max_tokens: int, base: Path | None) -> None:
    positions = settings_of(base, "config.json").get("max_position_embeddings") if base else None
    if positions is not None and max_tokens > positions:
        raise ValueError(f"features.max_tokens: {max_tokens} is more than the {positions} positions of the base; lower it")


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Without the cutting and padding that some checkpoints carry in their tokenizer.json: serving encodes with this file."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def save_template(contract: Contract, folder: Path) -> None:
    """Whoever loads the checkpoint with transformers gets the form it was trained in."""
    (folder / "chat_template.jinja").write_text(contract.template, encoding="utf-8")


def prompt_of(contract: Contract, row: Question) -> str:
    return contract.render([{"role": "user", "content": row["question"]}], context=row.get("context"))


class Speller:
    """Rows to token ids, prompt and answer each on its own, as serving will see them."""

    def __init__(self, contract: Contract, ending: str, tokenizer: Path, features: Features):
        self.contract, self.ending, self.features = contract, ending, features
        self.tokenizer = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))

    def ids(self, texts: list[str]) -> list[list[int]]:
        # The template writes the special tokens, so the tokenizer must add none of its own.
        return [spelt.ids for spelt in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def spell(self, rows: Sequence[Question], part: str, cuts: list[Cut]) -> list[Row]:
        prompts = self.ids([prompt_of(self.contract, row) for row in rows])
        answers = self.ids([row["answer"] + self.ending for row in rows])
        limit, spelt = self.features.max_tokens, []
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            if len(prompt) + len(answer) > limit:
                cuts.append(Cut(part, row["id"], len(prompt) + len(answer), len(prompt) >= limit, row["question"]))
            if len(prompt) < limit:
                spelt.append(self.row(prompt, answer))
        return spelt

    def row(self, prompt: list[int], answer: list[int]) -> Row:
        tokens = np.array([*prompt, *answer][: self.features.max_tokens], dtype=np.int32)
        loss = np.ones(len(tokens), dtype=np.uint8)
        # The first token follows nothing, so nothing can be learned from it.
        loss[: len(prompt) if self.features.loss_on == "answer" else 1] = 0
        return Row(tokens, loss)


def lay(rows: Sequence[Row], features: Features) -> TokenRows:
    alone = [[number] for number in range(len(rows))]
    return TokenRows.of(rows, best_fit([len(row) for row in rows], features.max_tokens) if features.pack else alone)


def table_of(cuts: Sequence[Cut], total: int, max_tokens: int) -> str:
    if not cuts:
        return f"No row is longer than {max_tokens} tokens.\n"
    lost = sum(cut.lost for cut in cuts)
    shown = sorted(cuts, key=lambda cut: (-cut.tokens, cut.part, cut.id))[:EXAMPLES]
    lines = [
        f"{len(cuts):,} of {total:,} rows are longer than {max_tokens} tokens: {len(cuts) - lost:,} lost the end of their answer, "
        f"{lost:,} were left out because the prompt alone is as long.\n",
        "| part | row | tokens | what became of it | question |",
        "|---|---|---|---|---|",
    ]
    for cut in shown:
        question = " ".join(cut.question.split()).replace("|", "\\|")
        fate = "left out" if cut.lost else f"cut at {max_tokens}"
        lines.append(f"| {cut.part} | {cut.id} | {cut.tokens:,} | {fate} | {question[:80]} |")
    return "\n".join(lines) + "\n"


def told(laid: dict[str, TokenRows], cuts: list[Cut], contract: Contract, features: Features, report: Report) -> dict[str, Any]:
    rows = sum(part.num_rows for part in laid.values())
    tokens = sum(len(part.tokens) for part in laid.values())
    sequences = sum(part.num_sequences for part in laid.values())
    lost = sum(cut.lost for cut in cuts)
    report.summary = f"{rows:,} rows → {tokens:,} tokens" + (
        f" · {len(cuts):,} longer than {features.max_tokens} ({len(cuts) - lost:,} cut, {lost:,} left out)" if cuts else ""
    )
    return {
        "rows": rows,
        "tokens": tokens,
        "sequences": sequences,
        "fill": round(tokens / (sequences * features.max_tokens), 4),
        "truncated": len(cuts),
        "left_out": lost,
        "vocab_size": contract.vocab_size,
    }
