"""From answers to scores, whoever gave them: which rows are asked, how wordings are compared, what is written down."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any, cast

import pyarrow.parquet as pq

from backends.work import wording
from backends.work.predictions import Asked, latency, refusals, table_of, worst
from llmspec.errors import BlockedError

PER_ROW: dict[str, Callable[[str, str], float]] = {
    "token_f1": wording.token_f1,
    "exact_match": wording.exact_match,
    "rouge_l": wording.rouge_l,
}


def read_rows(data: Path, part: str) -> list[dict[str, Any]]:
    rows = pq.read_table(data / f"{part}.parquet").to_pylist()
    if not rows:
        raise BlockedError(f"{data}: no {part} row to evaluate with: raise data.split.{part}, or add rows")
    return cast(list[dict[str, Any]], rows)


def chosen(rows: list[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """The same rows each time, drawn by the hash of their id: the first ones would all be from one source, and growing data
    exchanges few of them."""
    if most is not None and most < len(rows):
        rows = sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())[:most]
    return sorted(rows, key=lambda row: str(row["id"]))


def summarize(asked: list[Asked], metrics: list[str]) -> dict[str, float]:
    """Means over all rows, those refused as well: a question that the endpoint does not take is not answered."""
    scores = {}
    for name in metrics:
        if name in PER_ROW:
            scores[name] = mean(item.scores[name] for item in asked)
        elif surprises := [surprise for item in asked for surprise in item.surprises]:
            scores[name] = math.exp(mean(surprises))
    scores["stopped"] = mean(item.finish == "stop" for item in asked)
    scores["refused"] = mean(item.finish == "refused" for item in asked)
    return {name: round(value, 6) for name, value in scores.items()}


def write(output: Path, asked: list[Asked], scores: dict[str, float], takes: int) -> None:
    """scores.json and predictions.parquet are the artifact; what is under report/ is for people."""
    (output / "report").mkdir(exist_ok=True)
    (output / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True))
    pq.write_table(table_of(asked), output / "predictions.parquet")
    (output / "report/worst.md").write_text(worst(asked), encoding="utf-8")
    answered = [item for item in asked if item.finish != "refused"]
    (output / "report/refused.md").write_text(refusals([item for item in asked if item not in answered], takes), encoding="utf-8")
    if answered:
        (output / "report/latency.json").write_text(json.dumps(latency(answered), indent=1))
