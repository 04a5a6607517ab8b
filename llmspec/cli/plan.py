"""What would change, and why. Nothing is run."""

import argparse
import json
import time
from pathlib import Path

from llmspec.cli.common import look, target_option
from llmspec.errors import CallError
from llmspec.plan import plan
from llmspec.present import plan_lines, plan_markdown
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="one or more llm.yaml")
    target_option(parser)
    parser.add_argument("--select", metavar="STAGE", help="model, model+ (and below) or +model (and above)")
    parser.add_argument("--force", action="store_true", help="as if nothing of the selection were made")
    parser.add_argument("-o", "--output", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--out", metavar="PLAN", help="save the plan, for `llmspec apply --plan PLAN`")
    parser.add_argument("--exit-code", action="store_true", help="3 when changes are pending")


def run(args: argparse.Namespace) -> int:
    if args.out and len(args.files) > 1:
        raise CallError("--out saves the plan of one file")
    started = time.monotonic()
    products = [Product.open(file, args.target) for file in args.files]
    plans = [plan(product, select=args.select, force=args.force, **look(product)) for product in products]
    if args.out:
        Path(args.out).write_text(
            json.dumps(plans[0].to_dict() | {"select": args.select, "force": args.force}, indent=1), encoding="utf-8"
        )
    if args.output == "json":
        print(
            json.dumps([found.to_dict() for found in plans] if len(plans) > 1 else plans[0].to_dict(), indent=1, ensure_ascii=False)
        )
    for found in plans:
        if args.output == "markdown":
            print(plan_markdown(found))
        elif args.output == "text":
            print("\n".join(plan_lines(found)))
            if found.pending:
                print(f"Apply with: llmspec apply {found.file}" + (f" --target {args.target}" if args.target else ""))
            else:
                print(f"({time.monotonic() - started:.1f} s)")
    return 3 if args.exit_code and any(found.pending for found in plans) else 0
