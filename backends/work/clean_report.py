"""What cleaning did, for people: per step how many rows it changed and dropped, with a few of them before and after."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backends.work.clean_steps import ALIVE, SHOWN, WIDTH
from llmspec.errors import PlaceError
from llmspec.redaction import hidden


class Told:
    """The story of every row that was read."""

    def __init__(self, rows: pa.Table, ids: list[str], steps: list[tuple[str, dict[str, Any]]], sources: list[str], source_of: Any):
        self.rows, self.ids, self.names = rows, ids, [name for name, _ in steps]
        self.options = [{key: value for key, value in options.items() if value is not None} for _, options in steps]
        self.dropped = rows["_dropped"].to_numpy()
        self.touched = rows["_touched"].to_numpy()
        self.sources = {name: int((source_of == number).sum()) for number, name in enumerate(sources)}
        self.examples = self._examples()

    def alive_at(self, step: int) -> Any:
        """Rows that no earlier step has dropped."""
        return (self.dropped == ALIVE) | (self.dropped >= step)

    def lost_at(self, step: int) -> int:
        return int((self.dropped == step).sum())

    def touched_at(self, step: int) -> Any:
        return (self.touched >> step & 1).astype(bool) & self.alive_at(step)

    @property
    def kept(self) -> int:
        return int((self.dropped == ALIVE).sum())

    def steps(self) -> list[dict[str, Any]]:
        told = []
        for step, name in enumerate(self.names):
            lost, touched = self.lost_at(step), int(self.touched_at(step).sum())
            if step == len(self.names) - 1 and not lost:
                break  # the step that is always there, and had nothing to do
            changed = 0 if self.options[step].get("action") in ("drop", "fail") else touched
            told.append(
                {"step": step + 1, "name": name, "options": self.options[step], "rows_in": int(self.alive_at(step).sum())}
                | {"changed": changed, "dropped": lost, "examples": self.examples.get(step, [])}
            )
        return told

    def metrics(self) -> dict[str, Any]:
        rows_in = len(self.ids)
        distinct = len(set(self.rows["_raw"].to_pylist()))
        return {
            "rows_in": rows_in,
            "rows": self.kept,
            "dropped": round(1 - self.kept / rows_in, 6),
            "duplicates": round(1 - distinct / rows_in, 6),
        }

    def summary(self) -> str:
        lost = len(self.ids) - self.kept
        return f"{self.kept:,} rows of {len(self.ids):,}" + (f" · {lost:,} dropped" if lost else "")

    def refuse_personal(self) -> None:
        """redact with action: fail."""
        for step, options in enumerate(self.options):
            if self.names[step] != "redact" or options["action"] != "fail":
                continue
            rows = np.flatnonzero(self.touched_at(step)).tolist()
            if rows:
                named = ", ".join(_row(self.ids[row]) for row in rows[:10]) + (" …" if len(rows) > 10 else "")
                raise PlaceError(
                    f"data.clean[{step}] redact: {len(rows):,} rows hold personal data ({', '.join(options['kinds'])}): {named}\n"
                    "  clean them at the source, or let `action: mask` or `action: drop` do it"
                )

    def refuse_nothing_left(self) -> None:
        if not self.ids:
            raise PlaceError(f"data.sources: no row in {', '.join(self.sources)}")
        if self.kept:
            return
        lost = Counter(self.dropped.tolist())
        said = [f"{name} dropped {lost[step]:,}" for step, name in enumerate(self.names) if lost[step]]
        raise PlaceError(
            f"data.clean: none of {len(self.ids):,} rows is left: {', '.join(said)}\n"
            "  loosen the step that dropped most, or see whether `columns` names the right ones"
        )

    def _examples(self) -> dict[int, list[dict[str, Any]]]:
        """The first few per step, in source order, that lived until that step."""
        found: dict[int, list[dict[str, Any]]] = {}
        alive = [self.alive_at(step) for step in range(len(self.names))]
        redacts = [step for step, name in enumerate(self.names) if name == "redact"]
        personal = np.zeros(len(self.ids), bool)
        for step in redacts:
            personal |= (self.touched >> step & 1).astype(bool)
        for row, notes in enumerate(self.rows["_notes"].to_pylist()):
            for step, column, before, after in json.loads(notes) if notes else ():
                shown = found.setdefault(step, [])
                if len(shown) < SHOWN and alive[step][row] and (not shown or shown[-1]["row"] != self.ids[row]):
                    shown.append({"row": self.ids[row], "column": column, "before": before, "after": after})
        for step, name in enumerate(self.names):
            if name == "drop_duplicates":
                rows = np.flatnonzero((self.dropped == step) & ~personal)[:SHOWN].tolist()
                found[step] = [self._twin(row) for row in rows]
        return found

    def _twin(self, row: int) -> dict[str, Any]:
        positions = self.rows["_position"].to_numpy()
        first = self.ids[int(np.searchsorted(positions, self.rows["_twin"][row].as_py()))]
        text = hidden(self.rows["question"][row].as_py() or "")[:WIDTH]
        return {"row": self.ids[row], "column": "question", "before": text, "after": None, "same_as": first}


def _row(name: str) -> str:
    source, row, _ = name.rsplit(":", 2)
    return f"{source} row {int(row)}"


def tell(told: Told, metrics: dict[str, Any], folder: Path) -> None:
    """steps.json for programs, steps.md for people."""
    folder.mkdir(exist_ok=True)
    everything = {**metrics, "sources": told.sources, "steps": told.steps()}
    (folder / "steps.json").write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "steps.md").write_text(markdown(everything), encoding="utf-8")


def markdown(told: dict[str, Any]) -> str:
    lines = [
        f"{told['rows']:,} of {told['rows_in']:,} rows stay: "
        + ", ".join(f"{told[part]:,} {part}" for part in ("train", "validation", "test")),
        "",
    ]
    lines += ["| | step | rows in | changed | dropped |", "|---:|---|---:|---:|---:|"]
    for step in told["steps"]:
        lines.append(f"| {step['step']} | {step['name']} | {step['rows_in']:,} | {step['changed']:,} | {step['dropped']:,} |")
    for step in told["steps"]:
        if step["examples"]:
            lines += ["", f"**{step['step']} {step['name']}**", "", "| row | column | before | after |", "|---|---|---|---|"]
            lines += [_line(example) for example in step["examples"]]
    return "\n".join(lines) + "\n"


def _line(example: dict[str, Any]) -> str:
    after = example["after"] if example["after"] is not None else "*dropped*"
    if "same_as" in example:
        after = f"*dropped: same as {_row(example['same_as'])}*"
    return f"| {_row(example['row'])} | {example['column']} | {_cell(example['before'])} | {_cell(after)} |"


def _cell(text: str | None) -> str:
    """Text inside a table: line breaks and bars must not end the cell, tags must not become the page's, blanks must show."""
    if text is None:
        return "*nothing*"
    text = re.sub("^ | $| (?= )|[\u00a0\u200b]", "␣", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", "⏎")
