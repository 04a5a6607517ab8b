"""Every release, what let it through, and who made it. With --audit: who did what to the endpoint, and whom it refused."""

import argparse
import json
import sys
from datetime import UTC, datetime

from llmspec.audit import Trail
from llmspec.cli.common import target_option
from llmspec.home import access_folder
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    parser.add_argument("--audit", action="store_true", help="the audit trail; exit 1 when a line is not as it was written")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    if args.audit:
        return _trail(Trail(access_folder(product.name, product.target)), args.output)
    live, tried, every = product.releases.live(), product.releases.candidate(), product.releases.all()
    now, beside = (release.number if release else 0 for release in (live, tried))
    shares = {variant["release"]: variant["weight"] for variant in live.variants} if live else {}
    if args.output == "json":
        marks = [
            {"live": each.number == now, "candidate": each.number == beside, "share": shares.get(each.number)} for each in every
        ]
        print(json.dumps([vars(each) | said for each, said in zip(every, marks, strict=True)], indent=1))
        return 0
    if not every:
        print(f"{product.name} has no release yet: llmspec apply {product.loaded.as_typed}")
    for release in reversed(every):
        mark = "●" if release.number == now else "○" if release.number == beside else " "
        passed = "; ".join(verdict["reason"] for verdict in release.verdict) or "no gates"
        share = f"  {shares[release.number]} % of the traffic" if release.number in shares else ""
        print(
            f"{mark} {release.number:>4}  {release.made_at}  {release.made_by:<12} onnx {release.artifact_key[:8]}  {passed}{share}"
        )
    return 0


def _trail(trail: Trail, output: str) -> int:
    entries = list(trail.entries())
    if output == "json":
        print(json.dumps(entries, indent=1))
    for entry in entries if output == "text" else ():
        at = datetime.fromtimestamp(entry["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        facts = {
            name: value for name, value in entry.items() if name not in ("time", "event", "by", "hash") and value not in (None, "")
        }
        print(f"{at}  {entry['by']:<12} {entry['event']:<12} " + "  ".join(f"{name} {value}" for name, value in facts.items()))
    if number := trail.broken():
        print(f"{trail.path}: line {number} is not as it was written; what follows it cannot be relied on", file=sys.stderr)
        return 1
    print(
        f"Every line is as it was written; the last hash is {entries[-1]['hash']}" if entries else "Nothing was recorded yet.",
        file=sys.stderr,
    )
    return 0
