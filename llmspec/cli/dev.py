"""Dagster's UI over every spec in `specs/`: the same store, the same runs, the same gates as `apply`."""

import argparse
import importlib.util
import os
import sys

from llmspec.apply import dagster_home
from llmspec.errors import PlaceError


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("dagster_webserver") is None:
        raise PlaceError("the Dagster UI is not installed: pip install 'llmspec[ui]'")
    dagster_home()
    print(f"Dagster's UI: http://{args.host}:{args.port}", file=sys.stderr)
    where = ["-m", "llmspec.definitions", "-h", args.host, "-p", str(args.port)]
    os.execv(sys.executable, [sys.executable, "-P", "-m", "dagster", "dev", *where])
    return 0
