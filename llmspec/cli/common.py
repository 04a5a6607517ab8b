"""What several commands share."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmspec.errors import NoStoreError, PlaceError
from llmspec.plan import Plan, plan
from llmspec.prices import in_aws
from llmspec.registry import Card, Place, name_of
from llmspec.shelf import Folder
from llmspec.stage import Product
from llmspec.store import Store


def target_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="T", help="which of the spec's targets; the default one when absent")


def asked(question: str) -> bool:
    """Whether somebody says yes; the end of the input is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def missing(product: Product, plan: Plan) -> None:
    """What the pending stages need and is not installed: all of it at once, before anything runs."""
    cards: list[tuple[str, Card]] = []
    for step in plan.pending:
        cards += [(step.stage, product.stage(step.stage).engine), (step.stage, product.stage(step.stage).place)]
    lacks = [f"{stage} needs {', '.join(card.missing())}: {card.install}" for stage, card in cards if card.missing()]
    lacks += [
        f"{stage}: this version validates, plans and prices {name_of(type(card))}, but cannot run there yet: use a local target"
        for stage, card in cards
        if isinstance(card, Place) and not card.acts(stage)
    ]
    if lacks:
        raise PlaceError("\n".join(dict.fromkeys(lacks)))


def look(product: Product) -> dict[str, Any]:
    """What answers now, asked of the endpoint's place: the part of a plan that is not in the store."""
    if product.releases.live() is None:
        return {}
    return {"live": product.place("endpoint").live(product.name, product.target), "looked": True}


def planned(product: Product, *, select: str | None, force: bool) -> Plan:
    """Its plan. A store that the foundation will make is empty until then."""
    try:
        return plan(product, select=select, force=force, **look(product))
    except NoStoreError:
        if not in_aws(product.spec):
            raise
    with tempfile.TemporaryDirectory(prefix="llmspec-") as folder:
        empty = replace(product, store=Store(Folder(Path(folder)), ()))
        return plan(empty, select=select, force=force)


def store_stands(product: Product) -> bool:
    """Whether there is a store already. The foundation makes the one in S3."""
    try:
        product.store.root.read(f"{product.name}/foundation/{product.target}.json")
    except NoStoreError:
        return False
    return True
