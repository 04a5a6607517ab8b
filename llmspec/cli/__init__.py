"""The command line: parse, call one library function, print.

One module per command: its docstring is the help, `options(parser)` its arguments, `run(args)` returns the exit code.
Only the module of the command that was asked for is imported.
"""

import argparse
import importlib
import os
import sys

from llmspec import __version__
from llmspec.errors import DeclinedError, LLMSpecError

COMMANDS = {
    "init": "write a first llm.yaml and data to go with it",
    "validate": "check a spec: all errors at once, nothing is run",
    "render": "print the spec as it is at a target, each value with its origin",
    "schema": "print the JSON Schema that editors complete from",
    "explain": "what a key means, or why a stage is stale",
    "plan": "what would change, and why",
    "prices": "what a target's things cost, and how old the figures are",
    "apply": "make it so",
    "status": "what is live, and how it does",
    "history": "every release, and what let it through",
    "promote": "make the candidate live",
    "rollback": "make an older release live again",
    "ask": "ask the live endpoint a question",
    "batch": "ask many questions from a file",
    "export": "take the model out, for Bedrock to import or for others to load",
    "keys": "who may ask the endpoint: make, list and revoke keys",
    "logs": "what the endpoint and the stages said",
    "stop": "stop the endpoint; everything else is kept",
    "destroy": "remove the endpoint and, when asked, the artifacts",
    "ci": "write the workflow that plans, applies and watches on GitHub",
    "dev": "Dagster's UI over every spec here",
    "backends": "the engines and places that are installed",
    "doctor": "what this machine can run, and what is missing",
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="llmspec", description="One llm.yaml becomes a trained, evaluated, served language model."
    )
    parser.add_argument("--version", action="version", version=f"llmspec {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == asked:
            module = importlib.import_module(f"llmspec.cli.{name}")
            command = commands.add_parser(name, help=summary, description=module.__doc__)
            module.options(command)
            command.set_defaults(run=module.run)
        else:
            commands.add_parser(name, help=summary)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except LLMSpecError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except DeclinedError as declined:
        print(declined)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
