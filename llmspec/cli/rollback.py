"""Make an older release live again, exactly as it was: its artifact, its limits, its address. No request is dropped.

The spec is not changed: `plan` shows the way forward again, and the next `apply` takes it.
"""

import argparse

from llmspec.cli.common import target_option, waits
from llmspec.deploy import rollback
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    parser.add_argument(
        "--to", type=int, metavar="N", help="a release of `llmspec history`; the one that was live before when absent"
    )
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    done = rollback(product, product.place("endpoint"), args.to, waits(product))
    print(f"Release {done.release.number} is live again: {done.live.url}")
    print(f"The spec is as it was: the next `llmspec apply {product.loaded.as_typed}` makes live what it asks for.")
    return 0
