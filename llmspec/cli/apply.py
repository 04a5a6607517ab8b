"""Make it so: plan, ask, run what is pending through Dagster, swap the endpoint when the gates hold."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspec import exposure
from llmspec.card import Place
from llmspec.cli.common import agree, look, missing, target_option, waits
from llmspec.deploy import nominate, revive
from llmspec.errors import BlockedError, CallError
from llmspec.make import expected
from llmspec.plan import Plan, plan
from llmspec.present import count, plan_lines, seconds
from llmspec.registry import name_of
from llmspec.retention import sweep
from llmspec.stage import Product

if TYPE_CHECKING:
    from llmspec.infra.wanted import Wanted

FINGERPRINT = re.compile(r"[0-9a-f]{64}")


NOTHING = "Nothing was run."


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--select", metavar="STAGE", help="model, model+ (and below) or +model (and above)")
    parser.add_argument("--force", action="store_true", help="make the selection again although it is there")
    parser.add_argument(
        "--plan", metavar="PLAN", help="a plan saved by `llmspec plan --out`, or its fingerprint; refused when stale"
    )
    parser.add_argument("--candidate", action="store_true", help="try it out beside what is live; `llmspec promote` makes it live")
    parser.add_argument("--lose-data", action="store_true", help="with --yes: also where a change in the cloud loses data")
    parser.add_argument("--drift", action="store_true", help="ask AWS first: what was changed there by hand is put back")
    parser.add_argument("--unlock", action="store_true", help="take a lock off the stacks that a dead process elsewhere left")
    parser.add_argument("--no-wait", action="store_true", help="fail at once when somebody else is applying")


def run(args: argparse.Namespace) -> int:
    return _aside(args) if args.candidate else _apply(args)


def _aside(args: argparse.Namespace) -> int:
    """Everything but what touches the live endpoint; then a release beside it."""
    if args.select or args.plan:
        raise CallError("--candidate makes all that a release needs: leave --select and --plan out")
    _tries_out(Product.open(args.file, args.target))
    args.select = "+evaluation"
    if code := _apply(args):
        return code
    product = Product.open(args.file, args.target)
    made = nominate(product, product.place("endpoint"), waits(product))
    print(f"Release {made.release.number} is tried out: {made.live.url}")
    typed = product.loaded.as_typed
    print(f"  Ask it:          llmspec ask {typed} --candidate …\n  Make it live:    llmspec promote {typed}")
    return 0


def _tries_out(product: Product) -> None:
    """Said before anything is made for it."""
    place = product.place("endpoint")
    if type(place).try_out is Place.try_out:
        cure = "leave --candidate out: the gates judge it before it is live, and `endpoint.rollout` moves users in steps"
        raise CallError(f"{name_of(type(place))} cannot serve a candidate beside what is live\n  {cure}")


def _apply(args: argparse.Namespace) -> int:
    started = time.monotonic()
    saved = _read_plan(Path(args.plan)) if args.plan else {}
    select, force = saved.get("select", args.select), saved.get("force", args.force)
    product = Product.open(args.file, args.target)
    exposure.check(product.loaded)
    cloud = _cloud(product, args, saved, select, force) if product.spec.in_aws else None
    with product.lock(wait=0 if args.no_wait else 86400, waiting=waits(product)):
        what = plan(product, select=select, force=force, **look(product))
        if saved:
            from llmspec.apply import agreed

            agreed(what, saved)
        if not what.pending and not what.blocked and not (cloud and cloud.pending):
            if _at_rest(product, args, started):
                return 0
            product = product.fresh()
            what = plan(product, select=select, force=force, **look(product))
        print("\n".join(plan_lines(what, _cloud_lines(product, what, cloud))))
        missing(product, what)
        if not (args.yes or saved):
            _ask(what)
        if what.pending or not what.blocked:  # at a gate that is shut already nothing in the cloud is touched
            _found(product, cloud, args)
        if not any(step.stage == "endpoint" for step in what.pending):
            _put_back(product, args, agreed=True)
        return _do(_ready(product), select, force, started)


def _at_rest(product: Product, args: argparse.Namespace, started: float) -> bool:
    """What is left to do where no stage is pending: it is whole after that, or has to be planned anew."""
    if _put_back(product, args, agreed=args.yes):
        return True
    if not product.settle():
        return False
    _forget(product)
    if not args.candidate:
        _nothing(product, started)
    return True


def _cloud(product: Product, args: argparse.Namespace, saved: dict[str, Any], select: str | None, force: bool) -> "Wanted | None":
    """What the foundation needs; None where it stands, cannot be looked at here, and is all that jobs ask for."""
    from llmspec import policy
    from llmspec.cli import cloud
    from llmspec.infra.command import CliMissingError, installed
    from llmspec.infra.wanted import foundation_wanted

    policy.require(product.loaded)
    what = plan(product, select=select, force=force, **look(product))
    missing(product, what)
    if not installed():
        serves = "endpoint" in product.spec.in_aws and any(step.stage == "endpoint" for step in what.pending)
        if serves or not product.loaded.site.founded:
            raise CliMissingError
        print("The foundation stands and is not compared: the Pulumi CLI is not installed here.", file=sys.stderr)
        return None
    if args.unlock:
        cloud.unlock(product)
    found = foundation_wanted(product, args.drift)
    cloud.same_cloud(found, saved)
    if product.store.stands(product.name):
        return found
    _with_store(product, what, found, args, agreed=args.yes or bool(saved))
    return replace(found, changes=[])


def _with_store(product: Product, what: Plan, found: "Wanted", args: argparse.Namespace, *, agreed: bool) -> None:
    """A foundation that has yet to make the store comes first, and is asked apart: no plan lies anywhere else."""
    print("\n".join(plan_lines(what, _cloud_lines(product, what, found))))
    if not agreed:
        agree("apply", NOTHING)
    _found(product, found, args)


def _cloud_lines(product: Product, what: Plan, cloud: "Wanted | None") -> Iterable[str]:
    if cloud is None:
        return ()
    from llmspec.infra.told import cloud_lines, image_lines
    from llmspec.infra.wanted import images_wanted

    return (*(cloud_lines([cloud]) if cloud.changes else ()), *image_lines(images_wanted(product, what)))


def _found(product: Product, found: "Wanted | None", args: argparse.Namespace) -> None:
    if found is not None:
        from llmspec.cli import cloud

        cloud.spared(found, args.yes, args.lose_data)
        cloud.found(product, found, args.drift)


def _put_back(product: Product, args: argparse.Namespace, *, agreed: bool) -> bool:
    if not args.drift or "endpoint" not in product.spec.in_aws:
        return False
    from llmspec.cli import cloud

    return cloud.put_back(product, agreed)


def _ready(product: Product) -> Product:
    """What is only to be copied or started again is, before anything is made: a plan made after this needs neither."""
    product.settle()
    product = product.fresh()
    if revived := revive(product, product.place("endpoint")):
        print(f"  ✓ endpoint     had died; release {revived.release} answers again at {revived.url}")
    return product


def _read_plan(path: Path) -> dict[str, Any]:
    """What was saved; of a fingerprint alone, that."""
    if FINGERPRINT.fullmatch(str(path)) and not path.exists():
        return {"fingerprint": str(path)}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CallError(f"{path} is no saved plan: {error}\n  save one: llmspec plan FILE --out {path}") from error
    if not isinstance(saved, dict) or "fingerprint" not in saved:
        raise CallError(f"{path} is no saved plan\n  save one: llmspec plan FILE --out {path}")
    return saved


def _nothing(product: Product, started: float) -> None:
    live = product.place("endpoint").live(product.name, product.target)
    where = f" Release {live.release} is live: {live.url}" if live else ""
    print(f"Nothing to change.{where}  ({time.monotonic() - started:.1f} s)")


def _ask(what: Plan) -> None:
    """Somebody says yes to it. Nobody is asked about what is blocked anyhow."""
    if what.blocked and not what.pending:
        raise BlockedError(_why_blocked(what))
    agree("apply", NOTHING)


def _why_blocked(what: Plan) -> str:
    return "\n".join(f"{step.stage} is blocked: {'; '.join(step.why)}" for step in what.blocked)


def _do(product: Product, select: str | None, force: bool, started: float) -> int:
    what = plan(product, select=select, force=force, **look(product))
    if what.pending and product.spec.in_aws:
        from llmspec.cli import cloud

        cloud.built(product, what)
    if what.pending and (code := _make(product, what, select, force)):
        return code
    if what.blocked:
        raise BlockedError(_why_blocked(what))
    _forget(product.fresh())
    live = product.place("endpoint").live(product.name, product.target)
    print(f"Done in {seconds(time.monotonic() - started)}." + (f" Release {live.release} is live: {live.url}" if live else ""))
    return 0


def _forget(product: Product) -> None:
    """What has lain in the store for longer than `governance.retention.data` says."""
    if gone := sweep(product):
        stages = ", ".join(dict.fromkeys(artifact.manifest.stage for artifact in gone))
        print(f"  ✓ retention    {count(len(gone), 'old artifact')} of {stages} removed, which nothing current was made from")


def _make(product: Product, what: Plan, select: str | None, force: bool) -> int:
    with expected(product, [step.stage for step in what.pending]):
        from llmspec.apply import apply  # Dagster takes two seconds to import: only when there is something to do
        from llmspec.cli.live import Display
        from llmspec.progress import listening

        with Display(product, what) as display, listening(display.hear):
            outcome = apply(product, what, select=select, force=force)
        display.close(outcome)
    return 0 if outcome.passed else 130 if outcome.interrupted else 1
