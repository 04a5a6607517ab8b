"""What would change, and why. Nothing is run."""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspec.cli.common import look, target_option
from llmspec.errors import CallError
from llmspec.home import home
from llmspec.load import load
from llmspec.plan import Plan, plan
from llmspec.present import plan_lines
from llmspec.shelf import Folder
from llmspec.stage import Product
from llmspec.store import Store

if TYPE_CHECKING:
    from llmspec.infra.build import Lacking
    from llmspec.infra.wanted import Wanted


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="one or more llm.yaml")
    target_option(parser)
    parser.add_argument("--select", metavar="STAGE", help="model, model+ (and below) or +model (and above)")
    parser.add_argument("--force", action="store_true", help="as if nothing of the selection were made")
    parser.add_argument("-o", "--output", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--out", metavar="PLAN", help="save the plan, for `llmspec apply --plan PLAN`")
    parser.add_argument("--offline", action="store_true", help="ask neither the store nor a cloud: as if nothing were made")
    parser.add_argument("--exit-code", action="store_true", help="3 when changes are pending, 1 when all of them are blocked")


def run(args: argparse.Namespace) -> int:
    if args.out and len(args.files) > 1:
        raise CallError("--out saves the plan of one file")
    if args.out and args.offline:
        raise CallError("--out saves a plan that can be applied, and --offline looks at nothing: leave one of them out")
    started = time.monotonic()
    found = [_found(file, args) for file in args.files]
    if args.out:
        saved = found[0].to_dict() | {"select": args.select, "force": args.force}
        try:
            Path(args.out).write_text(json.dumps(saved, indent=1), encoding="utf-8")
        except OSError as error:
            raise CallError(f"cannot write {args.out}: {error.strerror}") from error
    match args.output:
        case "json":
            told = [each.to_dict() | ({"offline": True} if args.offline else {}) for each in found]
            print(json.dumps(told if len(told) > 1 else told[0], indent=1, ensure_ascii=False))
        case "markdown":
            print(_markdown(found, args.offline))
        case _:
            _tell(args, found, started)
    if not args.exit_code:
        return 0
    return 3 if any(each.pending for each in found) else 1 if any(each.plan.blocked for each in found) else 0


@dataclass(frozen=True)
class Found:
    """What would become of one file."""

    product: Product
    plan: Plan
    cloud: "Sequence[Wanted]"
    """Its stacks, where something of it is in AWS and that was looked at."""
    images: "Sequence[Lacking]" = ()
    """What would be built first."""

    @property
    def pending(self) -> bool:
        """Whether apply would do something. Where all is blocked that the stages lack it touches nothing in the cloud either."""
        return bool(self.plan.pending) or (not self.plan.blocked and any(stack.pending for stack in self.cloud))

    def to_dict(self) -> dict[str, Any]:
        cloud = {"cloud": [stack.to_dict() for stack in self.cloud]} if self.cloud else {}
        return self.plan.to_dict() | cloud | ({"images": [image.to_dict() for image in self.images]} if self.images else {})

    def cloud_lines(self, markdown: bool = False) -> Iterable[str]:
        if not self.cloud:
            return ()
        from llmspec.infra.told import budget_lines, cloud_lines, cloud_markdown, image_lines

        stacks = cloud_markdown(self.cloud) if markdown else cloud_lines(self.cloud)
        return (*stacks, *image_lines(self.images, markdown), *budget_lines(self.product.spec, markdown))


def _found(file: str, args: argparse.Namespace) -> Found:
    product = _offline(file, args.target) if args.offline else Product.open(file, args.target)
    if args.offline or not product.spec.in_aws:  # of a product with nothing in AWS nothing is loaded
        return Found(product, _planned(product, args), ())
    from llmspec.infra.wanted import images_wanted, looking

    with looking(product) as wanted:
        what = _planned(product, args)
        images = images_wanted(product, what)
        return Found(product, what, wanted(), images)


def _planned(product: Product, args: argparse.Namespace) -> Plan:
    return plan(product, select=args.select, force=args.force, **look(product))


def _offline(file: str, target: str | None) -> Product:
    """A product of which nothing was made, as far as this machine knows: its store is a folder that does not exist."""
    return Product(load(file, target), Store(Folder(home() / "offline"), ()))


def _markdown(found: list[Found], offline: bool) -> str:
    from llmspec import policy  # only a comment needs both
    from llmspec.markdown import Seen, plans_markdown

    return plans_markdown(
        [Seen(each.plan, policy.check(each.product.loaded), offline, tuple(each.cloud_lines(markdown=True))) for each in found]
    )


def _tell(args: argparse.Namespace, found: list[Found], started: float) -> None:
    for each in found:
        print("\n".join(plan_lines(each.plan, each.cloud_lines())))
        if args.offline:
            print("Planned offline: neither the store nor a cloud was asked, so every stage counts as not made yet.")
        elif each.pending:
            print(f"Apply with: llmspec apply {each.plan.typed}")
        else:
            print(f"({time.monotonic() - started:.1f} s)")
