"""Print what the endpoint said, or what a stage's last job did."""

import argparse
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import IO

from llmspec.cli.common import target_option
from llmspec.errors import CallError
from llmspec.home import log_file
from llmspec.load import Loaded, load
from llmspec.section import STAGES


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    parser.add_argument("stage", metavar="STAGE", nargs="?", default="endpoint", choices=STAGES, help="endpoint when absent")
    parser.add_argument("-n", "--lines", type=int, default=200, metavar="N", help="how many of the last lines (200)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows, until Ctrl-C")
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    if args.lines < 0:
        raise CallError(f"--lines {args.lines}: the last lines are counted from 0")
    loaded = load(args.file, args.target)
    where = _where(loaded, args.stage)
    if isinstance(where, str) and "://" in where:
        print(where)
        return 0
    log = newest(where) if isinstance(where, Path) else None
    if log is None:
        raise CallError(f"{args.stage} has no log here" + (f": see {where}" if isinstance(where, str) and where else " yet"))
    print(f"{log}:", file=sys.stderr)
    with log.open(encoding="utf-8", errors="replace") as lines:
        print("".join(deque(lines, maxlen=args.lines)), end="", flush=True)
        if args.follow:
            follow(log, lines)
    return 0


def _where(loaded: Loaded, stage: str) -> Path | str:
    """A path to its logs, or wherever the place says they are."""
    if stage == "endpoint":
        said = loaded.place("endpoint").logs(loaded.spec.name, loaded.target)
        return Path(said) / "endpoint.log" if said and Path(said).is_dir() else said
    return log_file(loaded.spec.name, stage, "*")


def newest(pattern: Path) -> Path | None:
    return max(pattern.parent.glob(pattern.name), key=lambda path: path.stat().st_mtime, default=None)


def follow(log: Path, file: IO[str]) -> None:
    """What is added from here on; when the log is turned over, the new one from its start."""
    while True:
        print(file.read(), end="", flush=True)
        time.sleep(0.3)
        if log.exists() and log.stat().st_ino != os.fstat(file.fileno()).st_ino:
            print(file.read(), end="", flush=True)  # its last words, before it was turned over
            file = log.open(encoding="utf-8", errors="replace")
