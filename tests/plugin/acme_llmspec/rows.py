"""The heavy body of acme_rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backends.work.report import Report


def rows(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    """Every tenth row tests, every other tenth validates."""
    engine = options["data"]["engine"]["acme_rows"]
    print("badge is", engine["badge"])
    if engine["trip"]:
        raise PermissionError(f"the row service refuses badge {engine['badge']}")
    read = [
        json.loads(line) for files in options["files"].values() for file in files for line in Path(file).read_text().splitlines()
    ]
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    for number, row in enumerate(read):
        answer = row["answer"].upper() if engine["shout"] else row["answer"]
        part = {8: "validation", 9: "test"}.get(number % 10, "train")
        parts[part].append({"id": f"{number:05}", "question": row["question"], "answer": answer, "context": None, "source": "acme"})
    for part, found in parts.items():
        schema = pa.schema([(name, pa.string()) for name in ("id", "question", "answer", "context", "source")])
        pq.write_table(pa.Table.from_pylist(found, schema), output / f"{part}.parquet")
    report.summary = f"{len(read)} rows from acme, badge {engine['badge']}"
    return {"rows": len(read), "dropped": 0.0, "duplicates": 0.0}
