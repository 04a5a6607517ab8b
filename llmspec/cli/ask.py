"""Ask the live endpoint a question. The answer is printed as it is made; 1 is returned where a guard stopped it.

Where keys were made (`llmspec keys`), LLMSPEC_API_KEY holds yours; where people sign in, the ID token that they were given.
"""

import argparse
import os
import sys
from typing import Any

from llmspec.cli.common import target_option
from llmspec.client import BLOCKED, CUT, KEY_CURE, SIGN_IN_CURE, ask, key_in
from llmspec.errors import PlaceError
from llmspec.load import load


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--context", metavar="TEXT", help="what to answer from, for a product with `template: context_qa`")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the longest answer; the endpoint's limit when absent")
    parser.add_argument("--candidate", action="store_true", help="ask what is tried out, not what is live")
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    loaded = load(args.file, args.target)
    place = loaded.place("endpoint")
    live = (place.tried if args.candidate else place.live)(loaded.spec.name, loaded.target)
    if live is None and args.candidate:
        raise PlaceError(f"{loaded.spec.name} has no candidate; make one with: llmspec apply {loaded.as_typed} --candidate")
    if live is None:
        raise PlaceError(f"{loaded.spec.name} is not live; bring it up with: llmspec apply {loaded.as_typed}")
    way: dict[str, Any] = {"certificate": live.certificate, "headers": place.headers(live), "call": place.call(live)}
    way["cure"] = SIGN_IN_CURE if loaded.spec.endpoint.access.keys == "cognito" else KEY_CURE
    answer = ask(live.url, args.question, args.context, max_tokens=args.max_tokens, key=key_in(os.environ), **way)
    for piece in answer:
        print(piece, end="", flush=True)
    print()
    if answer.refusal or answer.finish == BLOCKED:
        print(f"✗ a guard stopped it: {answer.refusal or 'what it said was no answer'}", file=sys.stderr)
        return 1
    if answer.finish == CUT and args.max_tokens is None:
        print("it was cut there: it reached the longest that an answer may be", file=sys.stderr)
    return 0
