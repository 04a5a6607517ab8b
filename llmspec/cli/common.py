"""What several commands share."""

import argparse
from typing import Any

from llmspec.stage import Product


def target_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="T", help="which of the spec's targets; the default one when absent")


def look(product: Product) -> dict[str, Any]:
    """What answers now, asked of the endpoint's place: the part of a plan that is not in the store."""
    if product.releases.live() is None:
        return {}
    return {"live": product.spec.place("endpoint").live(product.name, product.target), "looked": True}
