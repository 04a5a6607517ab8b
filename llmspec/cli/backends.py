"""The engines and places that are installed, ours and other people's, and what each lacks."""

import argparse
import json
from typing import Any

from llmspec import registry
from llmspec.card import Card


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    rows = cards()
    if args.output == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        lacks = f"  needs {', '.join(row['missing'])}: {row['install']}" if row["missing"] else ""
        print(f"{row['kind']:<7} {row['name']:<15} {', '.join(row['for']):<12.60} {row['says']}  [{row['from']}]{lacks}")
    return 0


def cards() -> list[dict[str, Any]]:
    """Everything that is registered."""
    found: list[dict[str, Any]] = []
    for name, engine in registry.engines():
        found.append(_row("engine", name, [engine.stage], engine))
    for name, place in registry.places():
        found.append(_row("place", name, [*place.runs, *(["endpoint"] if place.serves else [])], place))
    return found


def _row(kind: str, name: str, stages: list[str], card: type[Card]) -> dict[str, Any]:
    point = registry.registered(kind)[name]
    return {
        "kind": kind,
        "name": name,
        "for": stages,
        "says": (card.__doc__ or "").split("\n")[0],
        "from": point.dist.name if point.dist else "?",
        "missing": card.missing(),
        "install": card.install,
    }
