"""What several commands share."""

import argparse
import sys
from typing import Any

from llmspec.card import Card
from llmspec.errors import CallError, DeclinedError, PlaceError
from llmspec.lock import Waiting
from llmspec.plan import Plan
from llmspec.stage import Product


def target_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="T", help="which of the spec's targets; the default one when absent")


def agree(verb: str, otherwise: str) -> None:
    """Somebody at the terminal says yes; else DeclinedError. The end of the input is a no, and nobody is an error."""
    if not sys.stdin.isatty():
        raise CallError(f"nobody is here to answer; add --yes to {verb} without asking")
    try:
        said = input(f"{verb.capitalize()}? [y/N] ")
    except EOFError:
        print()
        said = ""
    if said.strip().lower() not in ("y", "yes"):
        raise DeclinedError(otherwise)


def waits(product: Product) -> Waiting:
    """Says for whom it waits, when there is somebody."""
    return lambda who: print(f"Waiting: {product.name} is being worked on by {who}", flush=True)


def missing(product: Product, plan: Plan) -> None:
    """What the pending stages need and is not installed: all of it at once, before anything runs."""
    cards: list[tuple[str, Card]] = []
    for step in plan.pending:
        cards += [(step.stage, product.stage(step.stage).engine), (step.stage, product.stage(step.stage).place)]
    lacks = [f"{stage} needs {', '.join(card.missing())}: {card.install}" for stage, card in cards if card.missing()]
    if lacks:
        raise PlaceError("\n".join(dict.fromkeys(lacks)))


def look(product: Product) -> dict[str, Any]:
    """What answers now, asked of the endpoint's place: the part of a plan that is not in the store."""
    if product.releases.live() is None:
        return {}
    return {"live": product.place("endpoint").live(product.name, product.target), "looked": True}
