"""Print the spec as it is at a target: overlays merged, references filled in, each value with its origin."""

import argparse
import json
from dataclasses import asdict

from llmspec.language.render import render
from llmspec.load import load


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--target", help="the default one otherwise")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")


def run(args: argparse.Namespace) -> int:
    loaded = load(args.file, args.target)
    if args.output == "json":
        origins = {path: asdict(origin) for path, origin in loaded.origins.items()}
        print(json.dumps({"target": loaded.target, "spec": loaded.plain, "origins": origins}, indent=1, ensure_ascii=False))
    else:
        print(render(loaded), end="")
    return 0
