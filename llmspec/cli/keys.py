"""Make, list and revoke the keys of an endpoint. A change holds from the next request on; nothing is restarted.

A key is printed once, when it is made: only its hash is kept. As long as none was ever made, the endpoint answers this
machine only, and asks nobody for a key.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime

from llmspec.cli.common import target_option
from llmspec.errors import CallError
from llmspec.home import access_folder
from llmspec.keys import Key, Keys
from llmspec.load import Loaded, load
from llmspec.registry import name_of
from llmspec.section import parse_duration

ROLES = ("user", "developer", "admin")


def options(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="does", metavar="create | list | revoke", required=True)
    create = _one(does.add_parser("create", help="make a key and print it, once"))
    create.add_argument("--name", required=True, help="who will hold it, for people: alice, the-web-shop")
    create.add_argument("--role", choices=ROLES, default="user", help="what it may do: endpoint.access.roles (user)")
    create.add_argument("--expires", metavar="TIME", help="90d, 12h; never when absent")
    every = _one(does.add_parser("list", help="every key that was made"))
    every.add_argument("-o", "--output", choices=("text", "json"), default="text")
    _one(does.add_parser("revoke", help="refuse a key from now on")).add_argument("id", metavar="ID", help="as `list` shows it")


def _one(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    loaded = load(args.file, args.target)
    keys = Keys(access_folder(loaded.spec.name, loaded.target))
    if args.does == "create":
        _useful(loaded)
        _create(keys, args)
    elif args.does == "revoke":
        gone = keys.revoke(args.id)
        print(f"Key {gone.id} ({gone.name}) is refused from now on.")
    else:
        _list(keys.all(), loaded, args)
    return 0


def _useful(loaded: Loaded) -> None:
    """A platform's endpoint holds no keys: one that was made for it would open nothing."""
    place = loaded.place("endpoint")
    if not place.cloud:
        return
    if loaded.spec.endpoint.access.keys == "cognito":
        how, cure = "where people sign in", "let them in: aws cognito-idp admin-create-user"
    else:
        how = "which decides itself who may ask"
        cure = "IAM does at sagemaker, open_to at ecs and eks, an API's key at lambda"
    raise CallError(f"a key would have no effect at {name_of(type(place))}, {how}\n  {cure}")


def _create(keys: Keys, args: argparse.Namespace) -> None:
    if not 0 < len(args.name) <= 100 or not args.name.isprintable():
        raise CallError("--name is one line of at most 100 characters")
    first = not keys.configured()
    key, text = keys.create(args.name, args.role, _seconds(args.expires))
    print(text)
    until = f", until {_day(key.expires_at)}" if key.expires_at else ""
    print(f"Key {key.id} for {key.name}: {key.role}{until}. It is not shown again.", file=sys.stderr)
    if first:
        print("From now on every request needs a key: export LLMSPEC_API_KEY=… for `llmspec ask`.", file=sys.stderr)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise CallError(f"--expires: {error}\n  write a number and a unit: 12h, 90d") from error
    if seconds <= 0:
        raise CallError("--expires must be longer than nothing")
    return seconds


def _list(keys: list[Key], loaded: Loaded, args: argparse.Namespace) -> None:
    now = time.time()
    if args.output == "json":
        shown = [
            {name: value for name, value in asdict(key).items() if name != "sha256"} | {"state": key.state(now)} for key in keys
        ]
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    if not keys:
        _useful(loaded)
        print(f"No key was made. Make one: llmspec keys create {loaded.as_typed} --role user --name NAME")
    for key in keys:
        until = f"until {_day(key.expires_at)}" if key.expires_at else ""
        print(f"{key.id}  {key.state(now):<8} {key.role:<10} {key.name:<20} made {_day(key.made_at)}  {until}".rstrip())


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
