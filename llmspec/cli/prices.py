"""What a target's things cost, each figure with its date; --refresh asks AWS for them."""

import argparse
import json
import sys

from llmspec.cli.common import target_option
from llmspec.errors import CallError
from llmspec.load import Loaded, load
from llmspec.prices import SIDES, STORAGE, needs, per_token, table


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml with something in AWS")
    target_option(parser)
    parser.add_argument("--refresh", action="store_true", help="ask AWS (pricing:GetProducts), and keep what it says in .llmspec/")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    loaded = load(args.file, args.target)
    region, wanted = loaded.spec.region, _wanted(loaded)
    if region is None or not wanted:
        raise CallError(f"nothing of {args.file} is in AWS at target {loaded.target}\n  name the target that is: --target prod")
    if args.refresh:
        from llmspec.price_list import refresh

        for silent in refresh({region: wanted})[1]:
            print(f"no price of {silent}: there is no question for it, or AWS named none or several", file=sys.stderr)
    known = table(region)
    if args.output == "json":
        print(json.dumps({what: vars(known[what]) if what in known else None for what in sorted(wanted)}, indent=1))
        return 0
    for what in sorted(wanted):
        price = known.get(what)
        print(f"  {what:<28} " + (f"{price.figure:<13} per {price.per:<7} {region}, {price.as_of}" if price else "unpriced"))
    return 0


def _wanted(loaded: Loaded) -> set[str]:
    """All that the target may need, jobs included."""
    spec, inside = loaded.spec, loaded.spec.in_aws
    tokens = {per_token(spec.hosted, side) for side in SIDES} if spec.hosted else set()
    kept = {STORAGE} if inside else set()
    return tokens | kept | {need.what for need in needs(spec, inside, dict.fromkeys(inside, 3600.0))}
