"""What the data tests share: rows in, the work itself on a Sail that is started once, rows out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from backends.work.clean_spark import clean
from backends.work.clean_split import PARTS
from backends.work.report import Report

Row = dict[str, Any]
COLUMNS = {"question": "question", "answer": "answer"}


class Heard:
    """A channel that remembers."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def progress(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def log(self, text: str) -> None: ...


@dataclass
class Done:
    """What the stage left."""

    folder: Path
    metrics: dict[str, Any]
    summary: str
    events: list[dict[str, Any]]

    def part(self, name: str) -> list[Row]:
        return pq.read_table(self.folder / f"{name}.parquet").to_pylist()

    @property
    def rows(self) -> list[Row]:
        return sorted((row for part in PARTS for row in self.part(part)), key=lambda row: row["id"])

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    @property
    def steps(self) -> list[Row]:
        return json.loads((self.folder / "report" / "steps.json").read_text(encoding="utf-8"))["steps"]

    @property
    def page(self) -> str:
        return (self.folder / "report" / "steps.md").read_text(encoding="utf-8")

    @property
    def files(self) -> dict[str, bytes]:
        return {part: (self.folder / f"{part}.parquet").read_bytes() for part in PARTS}


def run(folder: Path, *paths: Path, source: Row | None = None, engine: Any = "sail", **data: Any) -> Done:
    """The work over one source of these files."""
    one = {"path": paths[0].name, "columns": COLUMNS, **(source or {})}
    name = one.get("name", paths[0].stem)
    return run_sources(folder, [{"name": name, **one}], {name: [str(path) for path in paths]}, engine=engine, **data)


def run_sources(folder: Path, sources: list[Row], files: dict[str, list[str]], **data: Any) -> Done:
    output = folder / "out"
    output.mkdir(parents=True, exist_ok=True)
    report = Report(heard := Heard())
    metrics = clean({"data": {"sources": sources, **data}, "files": files}, {}, output, report)
    return Done(output, metrics, report.summary, heard.events)


def jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(num: int, **more: Callable[[int], Any] | Any) -> list[Row]:
    """So many rows with questions of their own."""
    return [
        {
            "question": f"Where is number {n}?",
            "answer": f"Number {n} is on the shelf.",
            **{k: v(n) if callable(v) else v for k, v in more.items()},
        }
        for n in range(num)
    ]
