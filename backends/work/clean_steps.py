"""The cleaning steps over a batch of rows, and what they did to it. Runs in the engine's workers."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backends.work.clean_sources import TEXT, digest
from backends.work.clean_text import REWRITES, Rewrite, length, norm_question, redact, remove
from llmspec.redaction import hidden

SHOWN = 3
"""Examples per step."""
WIDTH = 160
"""Longest text in an example."""
ALIVE = -1
"""No step has dropped the row."""


@dataclass
class Event:
    """What a step did to a batch: which rows, and how they read before and after."""

    step: int
    column: str
    mask: "np.ndarray[Any, np.dtype[np.bool_]]"
    before: pa.Array
    after: pa.Array | None


@dataclass
class Rows:
    """A batch on its way through the steps. Dropped rows go along to the end, so that every row is accounted for."""

    text: dict[str, pa.Array]
    dropped: "np.ndarray[Any, np.dtype[np.int32]]"
    """The number of the step that dropped the row."""
    touched: "np.ndarray[Any, np.dtype[np.int64]]"
    """Bit n: step n changed the row, or found personal data in it."""
    personal: "np.ndarray[Any, np.dtype[np.bool_]]"
    """Rows with something to redact: only a redact step may show them, masked."""
    keys: dict[str, pa.Array] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def rewrite(self, step: int, columns: list[str], function: Rewrite) -> None:
        for name in columns:
            before, after = self.text[name], function(self.text[name])
            changed = pc.fill_null(pc.not_equal(before, after), False).to_numpy(zero_copy_only=False)
            self.touched |= changed.astype(np.int64) << step
            self.events.append(Event(step, name, changed & (self.dropped == ALIVE), before, after))
            self.text[name] = after

    def drop(self, step: int, column: str, gone: pa.Array) -> None:
        lost = gone.to_numpy(zero_copy_only=False) & (self.dropped == ALIVE)
        self.events.append(Event(step, column, lost, self.text[column], None))
        self.dropped[lost] = step

    def notes(self, redacts: set[int]) -> pa.Array:
        """A few examples, as JSON beside their row; what is personal is hidden before it leaves this function."""
        found: dict[int, list[Any]] = {}
        for event in self.events:
            shown = event.mask if event.step in redacts else event.mask & ~self.personal
            for row in np.flatnonzero(shown)[:SHOWN].tolist():
                after = None if event.after is None else _short(event.after[row].as_py())
                found.setdefault(row, []).append([event.step, event.column, _short(event.before[row].as_py()), after])
        return pa.array([json.dumps(found[n], ensure_ascii=False) if n in found else None for n in range(len(self.dropped))])


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    text = hidden(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def take(rows: Rows, number: int, name: str, options: dict[str, Any]) -> None:
    """One step over one batch."""
    columns = options.get("columns") or list(TEXT)
    match name:
        case "drop_missing":
            for column in columns:
                rows.drop(number, column, pc.equal(length(rows.text[column]), 0))
        case "drop_short":
            rows.drop(number, options["column"], pc.less(length(rows.text[options["column"]]), options["characters"]))
        case "drop_duplicates":  # all rows must be known: here only what they are compared by
            values = zip(*(rows.text[column].to_pylist() for column in columns), strict=True)
            rows.keys[f"_key_{number}"] = pa.array([digest(row) for row in values], pa.binary())
        case "redact":
            take_redact(rows, number, columns, options)
        case _:
            rows.rewrite(number, columns, remove(options["pattern"]) if name == "remove" else REWRITES[name])


def take_redact(rows: Rows, number: int, columns: list[str], options: dict[str, Any]) -> None:
    rows.rewrite(number, columns, redact(options["kinds"]))
    found = (rows.touched >> number & 1).astype(bool)
    rows.personal |= found
    if options["action"] == "drop":
        rows.dropped[found & (rows.dropped == ALIVE)] = number


def cleaner(
    steps: list[tuple[str, dict[str, Any]]], columns: list[str], group_by: str | None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For mapInArrow: raw rows -> clean rows with what happened to them, and what they are compared and grouped by."""
    redacts = {number for number, (name, _) in enumerate(steps) if name == "redact"}

    def one(batch: pa.RecordBatch) -> pa.RecordBatch:
        size = batch.num_rows
        text = {name: batch.column(name).cast(pa.string()) for name in columns}
        rows = Rows(text, np.full(size, ALIVE, np.int32), np.zeros(size, np.int64), np.zeros(size, bool))
        for number, (name, options) in enumerate(steps):
            take(rows, number, name, options)
        kept = {name: batch.column(name) for name in ("_position", "_fault", "_seen", "_raw")}
        made = {
            "_dropped": pa.array(rows.dropped, pa.int32()),
            "_touched": pa.array(rows.touched, pa.int64()),
            "_notes": rows.notes(redacts).cast(pa.string()),
            "_same_question": pa.array([digest([norm_question(q)]) for q in rows.text["question"].to_pylist()], pa.binary()),
            "_same_group": pa.array(
                [v and digest([v]) for v in rows.text[group_by].to_pylist()] if group_by else [None] * size, pa.binary()
            ),
        }
        alive = pa.array(rows.dropped == ALIVE)
        nothing = pa.scalar(None, pa.string())
        blank = {name: pc.and_(alive, pc.greater(length(value), 0)) for name, value in rows.text.items()}
        text = {name: pc.if_else(blank[name], value, nothing) for name, value in rows.text.items()}
        return pa.RecordBatch.from_pydict(kept | made | rows.keys | text)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (one(batch) for batch in batches if batch.num_rows)

    return work
