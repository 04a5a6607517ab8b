"""Remove what a spec made: the endpoint and its releases; with --artifacts, all in the store too. Lists, asks, then removes.

Artifacts in a store that the spec named before stay: others may work from there. They are told, and no apply comes back to them.

Keys and the audit trail stay: what comes back under this name is not open, and what was done to it can still be read."""

import argparse
from typing import TYPE_CHECKING

from llmspec.audit import Trail
from llmspec.cli.common import agree, target_option, waits
from llmspec.copies import copies_of
from llmspec.deploy import drop
from llmspec.home import access_folder, journal_folder, log_folder, run_folder
from llmspec.present import megabytes
from llmspec.shelf import Folder, Shelf
from llmspec.stage import Product
from llmspec.store import forget_elders

if TYPE_CHECKING:
    from llmspec.infra.stack import Held


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    parser.add_argument("--artifacts", action="store_true", help="data, models and evaluations as well")
    parser.add_argument("--unlock", action="store_true", help="take a lock off the stacks that a dead process elsewhere left")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    place = product.place("endpoint")
    live = place.live(product.name, product.target)
    shelves = [shelf for shelf in _ours(product, args.artifacts) if shelf.held()]
    left = _elsewhere(product) if args.artifacts else []
    stacks = _held(product, args.unlock)
    if not live and not shelves and not stacks and not left:
        print("Nothing to destroy.")
        return 0
    if live:
        print(f"  - endpoint     release {live.release} at {live.url}")
    for shelf in shelves:
        print(f"  - {shelf.uri}  {megabytes(sum(shelf.sizes().values()) / 1e6)}")
    stays = [f"  = {shelf.uri}  stays, and is forgotten: the spec names another store by now" for shelf in left]
    for line in (*stays, *_held_lines(stacks)):
        print(line)
    if not args.yes:
        agree("destroy", "Nothing was removed.")
    with product.lock(), product.deploying(waits(product)), product.watching(waits(product)):
        if args.artifacts:
            forget_elders(product.name, product.store.root)
        drop(product, place)
        place.stop(product.name, product.target)
        for shelf in shelves:
            shelf.clear()
        orphans = _remove(product, stacks)
        Trail(access_folder(product.name, product.target)).add("destroyed", artifacts=args.artifacts)
    print("\n".join([*orphans, "Destroyed."]))
    return 0


def _held(product: Product, unlock: bool) -> "dict[str, list[Held]]":
    """What the stacks have in AWS. CliMissingError where there is something there and no CLI to remove it with."""
    if not product.spec.in_aws:
        return {}
    from llmspec.cli import cloud
    from llmspec.infra.command import CliMissingError, installed

    if not installed():
        raise CliMissingError
    if unlock:
        cloud.unlock(product)
    return cloud.held(product)


def _held_lines(stacks: "dict[str, list[Held]]") -> list[str]:
    if not stacks:
        return []
    from llmspec.cli.cloud import held_lines

    return held_lines(stacks)


def _remove(product: Product, stacks: "dict[str, list[Held]]") -> list[str]:
    if not product.spec.in_aws:
        return []
    from llmspec.cli import cloud

    cloud.remove(product, stacks)
    return cloud.left(product, stacks)


def _ours(product: Product, artifacts: bool) -> list[Shelf]:
    """What this target made, releases in earlier stores too: one that stayed there would be live again at the next apply."""
    runs = [run_folder(product.name, product.target, candidate) for candidate in (False, True)]
    journals = [product.journal, journal_folder(product.name, product.target, candidate=True)]
    here = [Folder(folder) for folder in (*runs, *journals, log_folder(product.name))]
    if not artifacts:
        return [*product.store.holding(f"{product.name}/endpoint/{product.target}"), *here]
    return [product.store.root.below(product.name), *here, Folder(copies_of(product.name))]


def _elsewhere(product: Product) -> list[Shelf]:
    """Where it was kept before and something of it is still."""
    own = product.store.root.below(product.name)
    return [shelf for shelf in product.store.holding(product.name) if shelf.uri != own.uri]
