"""Every release, what let it through, and who made it."""

import argparse
import json

from llmspec.cli.common import target_option
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    live, every = product.releases.live(), product.releases.all()
    if args.output == "json":
        print(json.dumps([vars(release) | {"live": release == live} for release in every], indent=1, ensure_ascii=False))
        return 0
    if not every:
        print(f"{product.name} has no release yet: llmspec apply {args.file}")
    for release in reversed(every):
        mark = "●" if release == live else " "
        passed = "; ".join(verdict["reason"] for verdict in release.verdict) or "no gates"
        print(f"{mark} {release.number:>4}  {release.made_at}  {release.made_by:<12} onnx {release.artifact_key[:8]}  {passed}")
    return 0
