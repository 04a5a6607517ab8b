"""Check specs: all errors at once, for every target, and the policy of what is in AWS. Nothing is run."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspec import exposure
from llmspec.errors import CallError, Problem, SpecError
from llmspec.load import Loaded, load

if TYPE_CHECKING:
    from llmspec.policy import Finding


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
        print(json.dumps([_plain(result) for result in checked], indent=1, ensure_ascii=False))
    else:
        _tell(checked, problems)
    return SpecError.exit_code if problems else 0


def _check(file: str, target: str | None) -> dict[str, Any]:
    try:
        loaded = load(file, target)
    except SpecError as error:
        return {"file": file, "ok": False, "problems": list(error.problems)}
    policy = {at.target: found for at in ([loaded] if target else [loaded, *loaded.elsewhere]) if (found := _policy(at))}
    problems = [*exposure.certificate(loaded), *(it.problem for found in policy.values() for it in found if it.stops)]
    facts = {"file": file, "ok": not problems, "name": loaded.spec.name, "target": loaded.target, "problems": problems}
    return facts | ({"policy": policy} if policy else {})


def _policy(loaded: Loaded) -> "list[Finding]":
    """Only a spec with something in AWS pays for importing the checks."""
    if not loaded.spec.in_a_cloud:
        return []
    from llmspec import policy

    return policy.check(loaded)


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    plain = {**result, "problems": [asdict(problem) for problem in result["problems"]]}
    if "policy" in result:
        plain["policy"] = {target: [asdict(finding) for finding in found] for target, found in result["policy"].items()}
    return plain


def _tell(checked: list[dict[str, Any]], problems: list[Problem]) -> None:
    for result in checked:
        stopping = {id(it.problem) for found in result.get("policy", {}).values() for it in found if it.stops}
        others = [problem for problem in result["problems"] if id(problem) not in stopping]
        if result["ok"]:
            print(f"{result['file']}  ok  (target {result['target']})")
        elif others:
            print(SpecError(*others), file=sys.stderr)
        for target, found in result.get("policy", {}).items():
            _tell_policy(target, found)
    if problems:
        bad = sum(not result["ok"] for result in checked)
        among = f" in {bad} of {len(checked)} files" if len(checked) > 1 else ""
        print(f"{count(problems)}{among}. Nothing was run.", file=sys.stderr)


def _tell_policy(target: str, found: "list[Finding]") -> None:
    """Errors and warnings as they are; what is waived in one line, so that nobody forgets it."""
    for finding in found:
        if not finding.waived:
            print(
                f"{finding.problem}\n        {finding.severity} {finding.check} (target {target}): {finding.reason}",
                file=sys.stderr,
            )
    for check, reason in {it.check: it.waived for it in found if it.waived}.items():
        print(f"  waived at {target}: {check} ({reason})", file=sys.stderr)


def count(problems: list[Problem]) -> str:
    return f"{len(problems):,} problem{'s' if len(problems) != 1 else ''}"
