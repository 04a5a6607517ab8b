"""What would change, and why. Nothing is run."""

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspec.cli.common import planned, target_option
from llmspec.errors import CallError
from llmspec.present import plan_lines, plan_markdown
from llmspec.prices import in_aws
from llmspec.stage import Product

if TYPE_CHECKING:
    from llmspec.infra.wanted import Wanted


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
    plans = [planned(product, select=args.select, force=args.force) for product in products]
    clouds = [_cloud(product) for product in products]
    whole = [found.to_dict() | _told(cloud) for found, cloud in zip(plans, clouds, strict=True)]
    if args.out:
        Path(args.out).write_text(json.dumps(whole[0] | {"select": args.select, "force": args.force}, indent=1), encoding="utf-8")
    if args.output == "json":
        print(json.dumps(whole if len(plans) > 1 else whole[0], indent=1, ensure_ascii=False))
    pending = [bool(found.pending) or any(stack.pending for stack in cloud) for found, cloud in zip(plans, clouds, strict=True)]
    for found, cloud, waits in zip(plans, clouds, pending, strict=True):
        if args.output == "markdown":
            print(plan_markdown(found, _lines(cloud, markdown=True)))
        elif args.output == "text":
            print("\n".join(plan_lines(found, _lines(cloud))))
            if waits:
                print(f"Apply with: llmspec apply {found.file}" + (f" --target {args.target}" if args.target else ""))
            else:
                print(f"({time.monotonic() - started:.1f} s)")
    return 3 if args.exit_code and any(pending) else 0


def _cloud(product: Product) -> "list[Wanted]":
    """Of a product with nothing in AWS nothing is loaded."""
    if not in_aws(product.spec):
        return []
    from llmspec.infra.wanted import wanted

    return wanted(product)


def _told(cloud: "list[Wanted]") -> dict[str, Any]:
    return {"cloud": [stack.to_dict() for stack in cloud]} if cloud else {}


def _lines(cloud: "list[Wanted]", markdown: bool = False) -> Iterable[str]:
    if not cloud:
        return ()
    from llmspec.infra.told import cloud_lines, cloud_markdown

    return cloud_markdown(cloud) if markdown else cloud_lines(cloud)
