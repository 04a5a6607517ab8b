"""features of a hosted model: how it is asked, written down once.   data -> FEATURES -> model"""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from backends.serving.hosted.contract import HostedContract, about_tokens
from backends.work.report import Report
from backends.work.scoring import chosen
from llmspec.errors import BlockedError
from llmspec.spec.model import Prompt

SHOWN = 1
"""How many requests the report shows; those of other rows differ in their last question only."""


def prompt(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    """The contract, and a few requests as the model will read them."""
    asked = Prompt.model_validate(options["model"]["prompt"])
    shutil.rmtree(output)  # whatever a killed run left
    (output / "report").mkdir(parents=True)
    rows = {part: pq.read_table(inputs["data"] / f"{part}.parquet").to_pylist() for part in ("train", "validation", "test")}
    contract = HostedContract(
        template=options["data"]["template"],
        system_prompt=options["endpoint"].get("system_prompt") or None,
        temperature=asked.temperature,
        top_p=asked.top_p,
        examples=[kept(row) for row in examples(rows["train"], asked.examples)],
    )
    contract.save(output)
    held_out = sorted([*rows["test"], *rows["validation"]], key=lambda row: str(row["id"]))
    (output / "report" / "requests.md").write_text(table_of(contract, held_out[:SHOWN]), encoding="utf-8")
    sizes = [about_tokens(contract.request(contract.conversation(row), 1)) for row in held_out]
    longest = max(sizes, default=0)
    unused = len(rows["train"]) - len(contract.examples)
    report.summary = (
        f"{len(contract.examples)} examples · prompts of up to about {longest:,} tokens · {unused:,} training rows unused"
    )
    return {"examples": len(contract.examples), "longest_prompt": longest, "unused_rows": unused}


def examples(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Always the same ones."""
    if len(rows) < most:
        raise BlockedError(
            f"model.prompt.examples: {most} are wanted, and data has {len(rows)} training rows: lower it, or add rows"
        )
    return chosen(rows, most)


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is said to the model."""
    return {name: row[name] for name in ("question", "answer", "context") if row.get(name)}


def table_of(contract: HostedContract, rows: list[dict[str, Any]]) -> str:
    requests = [json.dumps(contract.request(contract.conversation(row), 1), indent=1, ensure_ascii=False) for row in rows]
    blocks = [f"```json\n{request}\n```\n" for request in requests]
    return "What Converse is sent for a held-out row, but for the limit of the answer:\n\n" + "\n".join(blocks)
