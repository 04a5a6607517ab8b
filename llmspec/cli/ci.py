"""Write the workflow that plans, applies and watches specs on GitHub: `.github/workflows/llmspec.yml`."""

import argparse
import json
import sys

from llmspec.ci.subject import APPLY_MINUTES, Options, Subject, subject
from llmspec.ci.workflow import workflow
from llmspec.ci.written import FILE, State, state, whole, words
from llmspec.errors import CallError
from llmspec.shelf import write_atomically

SAID = {"missing": "is not there", "current": "is current", "outdated": "is not current", "edited": "was edited, or is not ours"}


def options(parser: argparse.ArgumentParser) -> None:
    _asked(parser)
    parser.add_argument("--force", action="store_true", help="write over a file that was edited")
    parser.add_argument("--check", action="store_true", help="write nothing; 3 when the file is not what would be written")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def _asked(parser: argparse.ArgumentParser) -> None:
    """What makes the file what it is: it is written into it, so that `llmspec ci` alone brings it up to date."""
    parser.add_argument("files", nargs="*", metavar="SPEC", help="specs; as the file says, or those of specs/ that serve in AWS")
    parser.add_argument("--target", metavar="T", help="the target; the one that serves in AWS when absent")
    parser.add_argument("--branch", default="main", help="what is applied from; main when absent")
    parser.add_argument("--wheel", metavar="PATH", help="llmspec's wheel in the repository; wheels/ when absent")
    parser.add_argument("--pulumi-sha256", metavar="HEX", default="", help="the sum that Pulumi's CLI must have")
    parser.add_argument("--no-approval", action="store_true", help="apply also where the environment asks nobody")


def run(args: argparse.Namespace) -> int:
    args = _remembered(args)
    asked = Options(args.branch, args.wheel, args.pulumi_sha256, not args.no_approval)
    about = subject(args.files, args.target, asked)
    text = whole(_words(about), workflow(about))
    before = state(text)
    if before == "edited" and not args.check and not args.force:
        raise CallError(f"{FILE} was edited, or is not ours; nothing was written\n  compare, then: llmspec ci --force")
    if not args.check and before != "current":
        write_atomically(FILE, text)
    _tell(args, before, about)
    return 3 if args.check and before != "current" else 0


def _remembered(args: argparse.Namespace) -> argparse.Namespace:
    """Where nothing is asked for, what the file was asked for."""
    parser = argparse.ArgumentParser(prog="llmspec ci")
    _asked(parser)
    fresh = vars(parser.parse_args([]))
    if any(vars(args)[name] != value for name, value in fresh.items()) or (before := words()) is None:
        return args
    return argparse.Namespace(**vars(args) | vars(parser.parse_args(before)))


def _words(about: Subject) -> list[str]:
    asked = about.options
    found = [*about.specs, "--target", about.target]
    found += ["--branch", asked.branch] if asked.branch != "main" else []
    found += ["--wheel", asked.wheel] if asked.wheel else []
    found += ["--pulumi-sha256", asked.pulumi_sha256] if asked.pulumi_sha256 else []
    return found + ([] if asked.approval else ["--no-approval"])


def _tell(args: argparse.Namespace, before: State, about: Subject) -> None:
    wrote = not args.check and before != "current"
    if args.output == "json":
        facts = {"file": str(FILE), "state": "current" if wrote else before, "written": wrote}
        print(json.dumps(facts | {"specs": about.specs, "target": about.target, "only_checks": about.keeps_to_checks}, indent=1))
        return
    print(f"Wrote {FILE}." if wrote else f"{FILE} {SAID[before]}.")
    if about.keeps_to_checks:
        print(f"Pull requests are checked, and nothing is applied: {about.keeps_to_checks}.", file=sys.stderr)
    elif wrote:
        asks = f"reviewers, branch {about.options.branch} only, variable {about.variable}: the role that deploys"
        reads = f"variable {about.variable}: a role that only reads"
        print("Next, on GitHub, the environments of this repository:")
        print(f"  {about.environment}: {asks}\n  {about.environment}-plan: {reads}")
    if about.roleless and not about.keeps_to_checks:
        print(
            f"No role for GitHub is asked for, and so none is made: {', '.join(about.roleless)}."
            "\n  add `governance: {deploy: {github: OWNER/NAME}}`, and apply once by hand.",
            file=sys.stderr,
        )
    if about.outlast and not about.keeps_to_checks:
        print(
            f"A runner lives {APPLY_MINUTES} minutes, and these may run longer, by their max_runtime: {'; '.join(about.outlast)}."
            "\n  When it ends before the job does: run the workflow again, which goes on with the same job.",
            file=sys.stderr,
        )
