"""What a key means, with its type, default and examples; or, for a file and a stage, why the stage is stale or not."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from llmspec.errors import CallError
from llmspec.language.fields import first_sentence
from llmspec.language.meaning import Meaning, meaning


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="", metavar="KEY|FILE", help="model.training.epochs, or specs/bot.yaml")
    parser.add_argument("stage", nargs="?", help="after a FILE: the stage to explain")
    parser.add_argument("--target", help="after a FILE: the default one otherwise")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")


def run(args: argparse.Namespace) -> int:
    if args.what.endswith((".yaml", ".yml")):
        from llmspec import why

        print(why.explain(Path(args.what), args.stage, args.target))
        return 0
    if args.stage:
        raise CallError(f"a key has no stage: llmspec explain {args.what}")
    found = meaning(args.what)
    print(json.dumps(asdict(found), indent=1, ensure_ascii=False) if args.output == "json" else text(found))
    return 0


def text(found: Meaning) -> str:
    """The meaning as it is printed."""
    default = f"default {found.default}" if found.default else "" if not found.key or found.keys else "no default: it is needed"
    lines = [f"{found.key or 'llm.yaml'}  {', '.join(part for part in (found.type, default) if part)}"]
    lines += [f"  {line}" for line in found.about.splitlines()]
    lines += [f"  {note}" for note in found.notes]
    if found.examples:
        lines += ["", *(f"    {example}" for example in found.examples)]
    width = max(map(len, found.keys), default=0)
    if found.keys:
        lines += ["", *(f"    {name.ljust(width)}  {first_sentence(about)}" for name, about in found.keys.items())]
    return "\n".join(lines)
