"""Make the candidate live: the gates are judged again, against what is live now; then it is swapped in, no request dropped."""

import argparse

from llmspec.cli.common import target_option, waits
from llmspec.deploy import promote
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    done = promote(product, product.place("endpoint"), waits(product))
    print(f"Release {done.release.number} is live: {done.live.url}")
    return 0
