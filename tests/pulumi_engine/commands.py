"""The command line, as far as Pulumi's Automation API uses it. What it does not know it refuses."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pulumi_engine import cipher
from pulumi_engine.backend import Stack, files
from pulumi_engine.errors import CommandFailedError, RefusedError
from pulumi_engine.values import bare, blinded

VERSION = "3.272.0"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pulumi")
    parser.add_argument("--non-interactive", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version").set_defaults(run=_version)
    _stack_commands(commands.add_parser("stack").add_subparsers(dest="verb", required=True))
    _updates(commands)
    cancel = _of_stack(commands.add_parser("cancel"), _cancel)
    cancel.add_argument("--yes", action="store_true")
    args = parser.parse_args(words)
    if args.command != "version" and not args.non_interactive:
        parser.error("this process has no terminal")
    try:
        args.run(args)
    except CommandFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 255
    return 0


def _stack_commands(verbs: Any) -> None:
    init = verbs.add_parser("init")
    init.add_argument("name")
    init.add_argument("--secrets-provider", default="passphrase")
    init.set_defaults(run=_init)
    _of_stack(verbs.add_parser("select"), _select)
    for verb, run in (("output", _output), ("export", _export), ("history", _history)):
        command = _of_stack(verbs.add_parser(verb), run)
        command.add_argument("--json", action="store_true")
        command.add_argument("--show-secrets", action="store_true")
        command.add_argument("--page-size", type=int)
        command.add_argument("--page", type=int)
    _of_stack(verbs.add_parser("import"), _import).add_argument("--file", required=True)
    rm = verbs.add_parser("rm")
    rm.add_argument("name")
    rm.add_argument("--yes", action="store_true", required=True)
    rm.add_argument("--force", action="store_true")
    rm.set_defaults(run=_rm)


def _updates(commands: Any) -> None:
    for kind in ("up", "preview", "refresh", "destroy"):
        command = _of_stack(commands.add_parser(kind), _update)
        command.add_argument("--yes", action="store_true")
        command.add_argument("--skip-preview", action="store_true")
        command.add_argument("--preview-only", action="store_true")
        command.add_argument("--refresh", action="store_true")
        command.add_argument("--clear-pending-creates", action="store_true")
        command.add_argument("--target", action="append", default=[])
        command.add_argument("--exclude", action="append", default=[])
        command.add_argument("--message")
        command.add_argument("--color")
        command.add_argument("--suppress-outputs", action="store_true")
        command.add_argument("--client")
        command.add_argument("--exec-kind", choices=("auto.local", "auto.inline"))
        command.add_argument("--event-log")
        command.add_argument("--json", action="store_true")
        command.set_defaults(kind=kind)


def _of_stack(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    command.add_argument("--stack", required=True)
    command.set_defaults(run=run)
    return command


def _stack(name: str) -> Stack:
    project = re.search(r"^name: (\S+)$", (Path.cwd() / "Pulumi.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert project, "the Automation API writes it"
    return Stack(files(), project[1], name)


def _version(args: argparse.Namespace) -> None:
    print(os.environ.get("PULUMI_ENGINE_VERSION", f"v{VERSION}"))


def _init(args: argparse.Namespace) -> None:
    stack = _stack(args.name)
    if stack.exists():
        raise CommandFailedError(f"stack '{args.name}' already exists")
    made = cipher.first(stack.name, args.secrets_provider)
    stack.save({"secrets_providers": {"type": made.kind, "state": made.state}, "resources": []})
    print(f"Created stack '{args.name}'")


def _select(args: argparse.Namespace) -> None:
    _stack(args.stack).load()


def _opened(stack: Stack) -> dict[str, Any]:
    latest = stack.load()
    opened: dict[str, Any] = cipher.of(latest["secrets_providers"]).open(latest)
    return opened


def _output(args: argparse.Namespace) -> None:
    latest = _stack(args.stack).load()
    roots = [state for state in latest.get("resources", []) if state["type"] == "pulumi:pulumi:Stack"]
    outputs = roots[0]["outputs"] if roots else {}
    shown = bare(cipher.of(latest["secrets_providers"]).open(outputs)) if args.show_secrets else bare(blinded(outputs))
    print(json.dumps(shown))


def _export(args: argparse.Namespace) -> None:
    stack = _stack(args.stack)
    print(json.dumps({"version": 3, "deployment": _opened(stack) if args.show_secrets else stack.load()}))


def _import(args: argparse.Namespace) -> None:
    stack = _stack(args.stack)
    given = json.loads(Path(args.file).read_text(encoding="utf-8"))["deployment"]
    sealing = cipher.known(stack.name, stack.load().get("secrets_providers"))
    with stack.locked():
        stack.save({**sealing.seal(given), "secrets_providers": {"type": sealing.kind, "state": sealing.state}})
    print("Import complete.")


def _history(args: argparse.Namespace) -> None:
    found = _stack(args.stack).history()
    print(json.dumps(found[: args.page_size] if args.page_size else found))


def _rm(args: argparse.Namespace) -> None:
    stack = _stack(args.name)
    if stack.load().get("resources") and not args.force:
        raise CommandFailedError(f"'{args.name}' still has resources; removal rejected. Possible actions: --force")
    stack.remove()
    cipher.settings_file(stack.name).unlink(missing_ok=True)


def _cancel(args: argparse.Namespace) -> None:
    stack = _stack(args.stack)
    for lock in stack.locks():
        stack.at.remove(lock)
    print("The currently running update for this stack has been canceled!")


def _update(args: argparse.Namespace) -> None:
    protocol_alone()
    from pulumi_engine.engine import Deployment
    from pulumi_engine.events import Events

    stack = _stack(args.stack)
    dry = args.kind == "preview" or args.preview_only
    if not dry and not (args.yes and args.skip_preview):
        raise CommandFailedError("--yes or --skip-preview must be passed in to proceed when running in non-interactive mode")
    if args.kind in ("up", "preview") and not args.client:
        raise CommandFailedError("there is no program: these stacks have inline ones")
    sealing = cipher.known(stack.name, stack.load().get("secrets_providers"))
    events = Events(args.event_log)
    with nullcontext() if dry else stack.locked():
        deployment = Deployment(stack, sealing, events, dry)
        try:
            _perform(deployment, args)
        except RefusedError as refused:
            if not deployment.failed and not deployment.cancelled:
                deployment.failed.append(str(refused))
                events.tell(diagnosticEvent={"message": f"error: {refused}", "color": "never", "severity": "error"})
        ended = bool(deployment.failed or deployment.cancelled)
        events.tell(summaryEvent={"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": deployment.changes})
        events.tell(cancelEvent={})
        events.close()
        if not dry:
            stack.record("update" if args.kind == "up" else args.kind, "failed" if ended else "succeeded", deployment.changes)
    if ended:
        raise CommandFailedError("update canceled" if deployment.cancelled else f"{args.kind} failed")


def protocol_alone() -> None:
    """The engine speaks Pulumi's protocol and has no use for its library, which takes longer to load than most commands to run."""
    for name in ("pulumi", "pulumi.runtime"):
        there = find_spec(name)
        assert there
        made = sys.modules[name] = ModuleType(name)
        made.__path__ = list(there.submodule_search_locations or [])


def _perform(deployment: Any, args: argparse.Namespace) -> None:
    from pulumi_engine import looking, monitor

    if args.kind == "refresh":
        looking.refresh(deployment, args.target, args.clear_pending_creates, args.exclude)
    elif args.kind == "destroy":
        deployment.sweep()
    else:
        if args.refresh:
            looking.refresh(deployment, [], clear=False)
        monitor.run(deployment, args.client)
        if not deployment.failed and not deployment.cancelled:
            deployment.sweep()
