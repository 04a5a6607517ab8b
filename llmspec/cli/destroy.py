"""Remove what a spec made: the endpoint and its releases; with --artifacts, all in the store too. Lists, asks, then removes.

What lies in a store that the spec named before stays: others may work from there. It is told, and no apply comes back to it.

Keys and the audit trail stay: what comes back under this name is not open, and what was done to it can still be read."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from llmspec.audit import Trail
from llmspec.cli.common import agree, target_option, waits
from llmspec.copies import copies_of
from llmspec.deploy import drop
from llmspec.home import access_folder, journal_folder, log_folder, run_folder
from llmspec.present import megabytes
from llmspec.shelf import Folder, Shelf
from llmspec.stage import Product
from llmspec.store import DEPLOYED, MONITORED, keep_stores

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
    left = _elsewhere(product)
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
    with _alone(product, everywhere=args.artifacts):
        keep_stores(product.name, _named(product))
        drop(product, place)
        place.stop(product.name, product.target)
        for shelf in shelves:
            shelf.clear()
        orphans = _remove(product, stacks)
        Trail(access_folder(product.name, product.target)).add("destroyed", artifacts=args.artifacts)
    print("\n".join([*orphans, "Destroyed."]))
    return 0


@contextmanager
def _alone(product: Product, everywhere: bool) -> Iterator[None]:
    """Nobody makes, deploys or looks at anything that goes; `everywhere`: at any target."""
    targets = [product.target, *(other.target for other in product.loaded.elsewhere if everywhere)]
    with ExitStack() as held:
        held.enter_context(product.lock())
        for target in sorted(targets):
            for doing in (DEPLOYED, MONITORED):
                held.enter_context(product.store.lock_at(product.name, target, doing, waits(product)))
        yield


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
    """What this target made, in whatever store the spec names: its releases may be in that of another target, from before."""
    runs = [run_folder(product.name, product.target, candidate) for candidate in (False, True)]
    journals = [product.journal, journal_folder(product.name, product.target, candidate=True)]
    here = [Folder(folder) for folder in (*runs, *journals, log_folder(product.name))]
    own = product.store.root.below(product.name)
    releases = _held_here(product, f"{product.name}/endpoint/{product.target}", named=True)
    if not artifacts:
        return [*releases, *here]
    shared = [shelf for shelf in releases if not shelf.uri.startswith(f"{own.uri}/")]
    return [own, *shared, *here, Folder(copies_of(product.name))]


def _elsewhere(product: Product) -> list[Shelf]:
    """Where it was kept before, and something of it is still."""
    return _held_here(product, product.name, named=False)


def _held_here(product: Product, name: str, *, named: bool) -> list[Shelf]:
    """Shelves of this name in stores that the spec names, at any target, or in those that it does not name any more."""
    roots = _named(product)
    found = product.store.holding(name)
    return [shelf for shelf in found if named == any(shelf.uri == f"{uri.rstrip('/')}/{name}" for uri in roots)]


def _named(product: Product) -> set[str]:
    """The stores that the spec names."""
    return {product.store.root.uri, *(other.site.store.uri for other in product.loaded.elsewhere)}
