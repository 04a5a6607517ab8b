"""Stop the endpoint: what it was asked is answered, then nothing runs. Everything is kept; `apply` brings it back."""

import argparse

from llmspec.audit import Trail
from llmspec.cli.common import target_option
from llmspec.home import access_folder
from llmspec.load import load


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    loaded = load(args.file, args.target)
    place = loaded.place("endpoint")
    stopped = any([place.end_trial(loaded.spec.name, loaded.target), place.stop(loaded.spec.name, loaded.target)])
    if stopped:
        Trail(access_folder(loaded.spec.name, loaded.target)).add("stopped")
    print(f"Stopped. Bring it back with: llmspec apply {loaded.as_typed}" if stopped else "Nothing was running.")
    return 0
