"""Check specs: all errors at once, for every target. Nothing is run."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmspec import exposure
from llmspec.errors import CallError, Problem, SpecError
from llmspec.load import load


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="specs; specs/*.yaml when none is named")
    parser.add_argument("--target", help="the target to check; the default one otherwise")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")


def run(args: argparse.Namespace) -> int:
    files = args.files or sorted(str(path) for path in Path("specs").glob("*.yaml"))
    if not files:
        raise CallError("no spec is named, and there is none in specs/\n  write a first one: llmspec init")
    checked = [_check(file, args.target) for file in files]
    problems = [problem for result in checked for problem in result["problems"]]
    if args.output == "json":
        print(json.dumps([{**it, "problems": [asdict(p) for p in it["problems"]]} for it in checked], indent=1, ensure_ascii=False))
    else:
        _tell(checked, problems)
    return SpecError.exit_code if problems else 0


def _check(file: str, target: str | None) -> dict[str, Any]:
    try:
        loaded = load(file, target)
    except SpecError as error:
        return {"file": file, "ok": False, "problems": list(error.problems)}
    problems = exposure.certificate(loaded)
    return {"file": file, "ok": not problems, "name": loaded.spec.name, "target": loaded.target, "problems": problems}


def _tell(checked: list[dict[str, Any]], problems: list[Problem]) -> None:
    for result in checked:
        if result["ok"]:
            print(f"{result['file']}  ok  (target {result['target']})")
        else:
            print(SpecError(*result["problems"]), file=sys.stderr)
    if problems:
        bad = sum(not result["ok"] for result in checked)
        among = f" in {bad} of {len(checked)} files" if len(checked) > 1 else ""
        print(f"{count(problems)}{among}. Nothing was run.", file=sys.stderr)


def count(problems: list[Problem]) -> str:
    return f"{len(problems):,} problem{'s' if len(problems) != 1 else ''}"
