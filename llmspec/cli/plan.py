"""What would change, and why. Nothing is run."""

import argparse
import json
import time
from pathlib import Path

from llmspec.cli.common import look, target_option
from llmspec.errors import CallError
from llmspec.home import home
from llmspec.load import load
from llmspec.plan import Plan, plan
from llmspec.present import plan_lines
from llmspec.shelf import Folder
from llmspec.stage import Product
from llmspec.store import Store


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="one or more llm.yaml")
    target_option(parser)
    parser.add_argument("--select", metavar="STAGE", help="model, model+ (and below) or +model (and above)")
    parser.add_argument("--force", action="store_true", help="as if nothing of the selection were made")
    parser.add_argument("-o", "--output", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--out", metavar="PLAN", help="save the plan, for `llmspec apply --plan PLAN`")
    parser.add_argument("--offline", action="store_true", help="ask neither the store nor a cloud: as if nothing were made")
    parser.add_argument("--exit-code", action="store_true", help="3 when changes are pending")


def run(args: argparse.Namespace) -> int:
    if args.out and len(args.files) > 1:
        raise CallError("--out saves the plan of one file")
    if args.out and args.offline:
        raise CallError("--out saves a plan that can be applied, and --offline looks at nothing: leave one of them out")
    started = time.monotonic()
    products = [_offline(file, args.target) if args.offline else Product.open(file, args.target) for file in args.files]
    plans = [plan(product, select=args.select, force=args.force, **look(product)) for product in products]
    if args.out:
        Path(args.out).write_text(
            json.dumps(plans[0].to_dict() | {"select": args.select, "force": args.force}, indent=1), encoding="utf-8"
        )
    match args.output:
        case "json":
            told = [found.to_dict() | ({"offline": True} if args.offline else {}) for found in plans]
            print(json.dumps(told if len(told) > 1 else told[0], indent=1, ensure_ascii=False))
        case "markdown":
            print(_markdown(products, plans, args.offline))
        case _:
            _tell(args, plans, started)
    return 3 if args.exit_code and any(found.pending for found in plans) else 0


def _offline(file: str, target: str | None) -> Product:
    """A product of which nothing was made, as far as this machine knows: its store is a folder that does not exist."""
    return Product(load(file, target), Store(Folder(home() / "offline"), ()))


def _markdown(products: list[Product], plans: list[Plan], offline: bool) -> str:
    from llmspec import policy  # only a comment needs both
    from llmspec.markdown import Seen, plans_markdown

    found = [policy.check(product.loaded) for product in products]
    return plans_markdown([Seen(each, warned, offline) for each, warned in zip(plans, found, strict=True)])


def _tell(args: argparse.Namespace, plans: list[Plan], started: float) -> None:
    for found in plans:
        print("\n".join(plan_lines(found)))
        if args.offline:
            print("Planned offline: neither the store nor a cloud was asked, so every stage counts as not made yet.")
        elif found.pending:
            print(f"Apply with: llmspec apply {found.file}" + (f" --target {args.target}" if args.target else ""))
        else:
            print(f"({time.monotonic() - started:.1f} s)")
