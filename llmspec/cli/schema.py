"""Print the JSON Schema of llm.yaml, with the engines and places that are installed here."""

import argparse
import sys
from pathlib import Path

from llmspec.errors import CallError
from llmspec.language.schema import schema_text


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="write it there: specs/llm.schema.json is what our specs name")


def run(args: argparse.Namespace) -> int:
    if not args.out:
        print(schema_text(), end="")
        return 0
    try:
        Path(args.out).write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise CallError(f"cannot write {args.out}: {error.strerror}") from error
    print(f"wrote {args.out}", file=sys.stderr)
    return 0
