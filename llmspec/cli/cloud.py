"""What apply and destroy do in the cloud: the foundation first, and at the end what is left of it. No command."""

from typing import Any

from llmspec.cli.common import agree, waits
from llmspec.errors import BlockedError, StaleError
from llmspec.infra.build import ready
from llmspec.infra.change import HOLDS
from llmspec.infra.stack import Held
from llmspec.infra.stacks import foundation_stack, standing
from llmspec.infra.sweep import strays
from llmspec.infra.told import budget_lines
from llmspec.infra.wanted import Wanted
from llmspec.plan import Plan
from llmspec.stage import Product

PARTS = ("service", "foundation")
"""In the order in which they are removed."""


def unlock(product: Product) -> None:
    """Take the locks off that a process on another machine left. Who says so knows that it is dead."""
    for part in PARTS:
        standing(product.place("endpoint").site, part).cancel()


def spared(cloud: Wanted, yes: bool, lose_data: bool) -> None:
    """Nobody loses data by a word that was given to something else."""
    if yes and not lose_data and cloud.losses:
        lost = [f"{change.kind} {change.name} would be lost with {change.loses_data}: {change.reason}" for change in cloud.losses]
        raise BlockedError("\n".join([*lost, "  if that is meant: add --lose-data"]))


def same_cloud(cloud: Wanted, saved: dict[str, Any]) -> None:
    """A saved plan is only applied if the cloud would change as it says."""
    said = [stack for stack in saved.get("cloud", []) if stack["part"] == cloud.part and stack["compared"]]
    now = [(change.op, change.urn, list(change.keys)) for change in cloud.changes]
    if said and now != [(change["op"], change["urn"], change["keys"]) for change in said[0]["changes"]]:
        raise StaleError("the saved plan is stale: in the cloud something else would change by now\n  plan again, with --out")


def found(product: Product, cloud: Wanted, asked: bool = False) -> None:
    """The foundation, up and written down in the store. One that is up and not written down is written down."""
    site = product.place("endpoint").site
    if not cloud.changes and site.founded:
        return
    outputs = foundation_stack(site).up(lambda line: print(f"    {line}", flush=True), asked)
    site.found(outputs)
    print(f"  ✓ foundation   {cloud.summary if cloud.changes else 'up'}")
    for line in filter(None, budget_lines(product.spec)):
        print(line)


def put_back(product: Product, agreed: bool) -> bool:
    """What was changed by hand of the stack that serves, where no next release does it: that one asks AWS by itself. False when
    nothing was."""
    place, pointed = product.place("endpoint"), product.releases.live()
    changed = standing(place.site, "service").drift() if pointed else []
    if not pointed or not changed:
        return False
    for each in changed:
        what = "gone" if each.op == "delete" else "changed"
        print(f"  ! service      {each.kind} {each.name} is {what} in AWS  {', '.join(each.keys)}".rstrip())
    if not agreed:
        agree("put it back", "Nothing was put back.")
    with product.deploying(waits(product)):
        live = place.serve(product.located(product.releases.live() or pointed))  # it may be another by now
    print(f"  ✓ service      as it was made; release {live.release} answers: {live.url}")
    return True


def built(product: Product, what: Plan) -> None:
    """What the pending stages are started from, before the first of them."""
    stages = [step.stage for step in what.pending]
    ready(product.place("endpoint").site, stages, lambda line: print(f"  … images       {line}", flush=True))


def held(product: Product) -> dict[str, list[Held]]:
    """What each stack has, the service's first."""
    site = product.place("endpoint").site
    return {part: things for part in PARTS if (things := standing(site, part).held())}


def held_lines(every: dict[str, list[Held]]) -> list[str]:
    lines = []
    for part, things in every.items():
        for thing in things:
            service = thing.type.split(":")[1].split("/")[0]
            what = f"{service} {thing.type.split(':')[-1]} {thing.name}"
            lines.append(f"  {'=' if thing.keeps else '-'} {part:<12} {what}" + ("  stays in AWS" if thing.keeps else ""))
    return lines


def remove(product: Product, every: dict[str, list[Held]]) -> None:
    """Service, then foundation; then nothing is written down of it."""
    site = product.place("endpoint").site
    for part in PARTS:
        if part in every:
            standing(site, part).destroy(lambda line: print(f"    {line}", flush=True))
    site.leave()


def left(product: Product, every: dict[str, list[Held]]) -> list[str]:
    """What our tags find and no stack had: told with what removes it, and not removed, since nobody wrote down what it is for."""
    site = product.place("endpoint").site
    things = [thing for each in every.values() for thing in each]
    kept = [f"  = {thing.arn}  stays: {_why_kept(thing)}" for thing in things if thing.keeps and thing.arn]
    tags = standing(site, "foundation").tags
    found_ = strays(tags, site.region, {thing.arn for thing in things})
    return [*dict.fromkeys(kept), *(f"  ? {stray.arn}  is in no stack; remove it: {stray.cure}" for stray in found_)]


def _why_kept(thing: Held) -> str:
    return "it holds what cannot be made again" if thing.type in HOLDS else "it may serve others in this account"
