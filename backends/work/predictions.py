"""What was asked, what was expected and what came: Parquet for machines, tables for people."""

import math
import time
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmspec.journal_stats import percentile

if TYPE_CHECKING:
    from backends.serving.engine import Generation

NUM_WORST = 10


@dataclass
class Asked:
    """One row, what was expected, and what came."""

    row: dict[str, Any]
    prompt: list[int]
    expected: list[int]
    """The expected answer as tokens, with the one that ends it."""
    answer: str = ""
    finish: str = "refused"
    """stop, length, or refused: the endpoint would not take so long a prompt."""
    seconds: float = 0.0
    first_token: float = 0.0
    tokens: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    surprises: list[float] = field(default_factory=list)
    """-log p of each expected token."""
    about: int = 0
    """Tokens of the prompt, where they can only be guessed."""

    @property
    def length(self) -> int:
        return len(self.prompt) or self.about

    def take(self, generation: "Generation") -> None:
        """It has been answered."""
        self.answer, self.finish, self.tokens = generation.text, str(generation.finish), len(generation.ids)
        self.first_token, self.seconds = generation.first_token or 0.0, time.monotonic() - generation.submitted


def table_of(asked: list[Asked]) -> pa.Table:
    texts: dict[str, list[str | None]] = {name: [item.row.get(name) for item in asked] for name in ("id", "question", "context")}
    texts["expected"] = [item.row["answer"] for item in asked]
    texts["answer"] = [item.answer for item in asked]
    texts["finish"] = [item.finish for item in asked]
    numbers: dict[str, list[float | None]] = {name: [item.scores[name] for item in asked] for name in asked[0].scores}
    if any(item.surprises for item in asked):
        numbers["perplexity"] = [round(math.exp(mean(item.surprises)), 6) if item.surprises else None for item in asked]
    return pa.table(
        {name: pa.array(values, pa.string()) for name, values in texts.items()}
        | {name: pa.array(values, pa.float64()) for name, values in numbers.items()}
    )


def badness(item: Asked) -> tuple[float, float]:
    """The lowest scores first; among equals the one whose expected answer surprised most."""
    return sum(item.scores.values()), -mean(item.surprises or [0.0])


def worst(asked: list[Asked]) -> str:
    """The rows to look at first."""
    lines = ["| question | expected | answer | ended by | scores |", "|---|---|---|---|---|"]
    for item in sorted(asked, key=badness)[:NUM_WORST]:
        said = ", ".join(f"{name} {value:.2f}" for name, value in item.scores.items())
        cells = (item.row["question"], item.row["answer"], item.answer, item.finish, said)
        lines.append("| " + " | ".join(cell(text) for text in cells) + " |")
    return "\n".join(lines) + "\n"


def cell(text: str, most: int = 300) -> str:
    """One cell of a Markdown table, whatever the model wrote."""
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= most else text[: most - 1] + "…"


def refusals(refused: list[Asked], takes: int) -> str:
    if not refused:
        return f"No question is longer than the {takes:,} tokens that the endpoint takes.\n"
    head = f"{len(refused):,} questions are longer than the {takes:,} tokens that the endpoint takes; they count as not answered.\n"
    rows = [f"| {cell(str(item.row['id']))} | {item.length:,} | {cell(item.row['question'], 80)} |" for item in refused]
    return "\n".join([head, "| id | tokens | question |", "|---|---|---|", *rows]) + "\n"


def latency(asked: list[Asked]) -> dict[str, float]:
    """Times of this machine: for people, and no part of the artifact's content."""
    seconds, first = sorted(item.seconds for item in asked), sorted(item.first_token for item in asked)
    return {
        "p50_seconds": percentile(seconds, 50),
        "p95_seconds": percentile(seconds, 95),
        "p95_first_token_seconds": percentile(first, 95),
        "answer_tokens": sum(item.tokens for item in asked),
    }
