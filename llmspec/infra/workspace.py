"""One stack, opened: a folder with its settings, the environment, the CLI; and what the engine tells while it works."""

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmspec.errors import LLMSpecError, LockedError
from llmspec.home import home
from llmspec.infra import mend
from llmspec.infra.change import OPS, Op, Steps, called, real
from llmspec.infra.command import pulumi
from llmspec.infra.failure import Faults
from llmspec.infra.kept import Resource, returned
from llmspec.infra.state import State
from llmspec.present import seconds

if TYPE_CHECKING:
    from pulumi.automation import Stack as Automated

PROJECT = "llmspec"
Say = Callable[[str], None]
_Answer = TypeVar("_Answer")
MARKS: Mapping[Op, str] = {"create": "+", "update": "~", "replace": "±", "delete": "-", "same": "="}
SLOW = ("Endpoint", "Cluster", "NodeGroup", "NatGateway", "LoadBalancer", "Service", "VpcEndpoint", "CertificateValidation")
"""Kinds that AWS takes minutes for: of these the beginning is told as well."""
_HOLDER = re.compile(r"created by (?P<user>.*)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")


def quiet(_: str) -> None:
    """Nobody listens."""


class Workspace:
    """Everything it needs is llmspec's own: no account, no project of the user's, no question."""

    def __init__(self, name: str, program: Callable[[], None], region: str, state: State, *, make: bool, at: Path | None = None):
        from pulumi.automation import LocalWorkspaceOptions, ProjectSettings, create_or_select_stack, select_stack

        self.name, self._program, self._raised = name, program, list[BaseException]()
        self.command = pulumi()
        folder = at or home() / "pulumi" / name
        folder.mkdir(parents=True, exist_ok=True)
        _seal(folder / f"Pulumi.{name}.yaml", state)
        options = LocalWorkspaceOptions(
            work_dir=str(folder),
            pulumi_home=os.environ.get("PULUMI_HOME") or str(home() / "pulumi" / "home"),
            env_vars={
                **state.env,
                "PULUMI_BACKEND_URL": state.url,
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "AWS_REGION": region,
            },
            secrets_provider=state.secrets_provider,
            project_settings=ProjectSettings(name=PROJECT, runtime="python", main=str(Path.cwd())),
            pulumi_command=self.command,
        )
        open_ = create_or_select_stack if make else select_stack
        self.stack: Automated = self.ask(
            lambda: open_(stack_name=name, project_name=PROJECT, program=self._running, opts=options), Faults()
        )

    def _running(self) -> None:
        """The program runs in this process, in the engine's thread: what it raises is ours to tell."""
        try:
            self._program()
        except BaseException as error:
            self._raised.append(error)
            raise

    def run(self, verb: "Callable[..., _Answer]", say: Say, steps: Steps | None = None) -> _Answer:
        """One verb of the automation's stack, with its events."""
        self.command.stopping = lambda: say(f"{self.name}: stopping when AWS has done what it is doing")

        def once() -> _Answer:
            faults, told = Faults(), _Told(say)

            def hear(event: Any) -> None:
                faults.hear(event)
                told.hear(event)
                if steps:
                    steps.hear(event)

            return self.ask(lambda: verb(self.stack, on_event=hear, color="never"), faults)

        return self._past_the_dead(once, say)

    def _past_the_dead(self, do: Callable[[], _Answer], say: Say) -> _Answer:
        """A lock that a dead process of this machine left is taken off, once."""
        try:
            return do()
        except _LeftLockedError as left:
            say(f"{self.name}: {left.who}, is dead and left its lock: taken off")
            self.ask(self.stack.cancel)
            return do()

    def ask(self, question: Callable[[], _Answer], faults: Faults | None = None) -> _Answer:
        """What the CLI says no with becomes place, fault and cure."""
        from pulumi.automation import CommandError, ConcurrentUpdateError, StackNotFoundError

        try:
            return question()
        except StackNotFoundError:
            raise
        except ConcurrentUpdateError as error:
            raise _locked(self.name, str(error)) from error
        except CommandError as error:
            mine = [raised for raised in self._raised if isinstance(raised, LLMSpecError)] or self._raised
            if mine:
                raise mine[0] from error
            raise (faults or Faults()).error(self.name, str(error)) from error

    def export(self) -> dict[str, Any]:
        """The state as it lies, secrets opened."""
        return dict(self.ask(self.stack.export_stack).deployment or {})

    def mend(self, say: Say) -> None:
        """After a kill: what AWS may have made by then is taken in or dropped, as AWS says."""
        deployment = self.export()
        if not deployment.get("pending_operations"):
            return
        say(f"{self.name}: an apply was killed here; asking AWS what it had made")
        whole, taken, unknown = mend.adopted(deployment)
        self._replace(whole, say)
        self.look_at(taken)
        for urn in unknown:
            parts = urn.split("::")
            what = f"{called(parts[2].split('$')[-1])} {parts[-1]}"
            say(f"{self.name}: {what} may have been made twice; `llmspec destroy` finds it by its tags")

    def take_in(self, left: list[Resource], say: Say) -> list[str]:
        """What an earlier stack of this name left in AWS is this one's; the URNs of it, for AWS to be asked about."""
        whole, taken = returned(self.export(), left)
        if taken:
            say(f"{self.name}: kept when it was destroyed, and taken in again: {', '.join(urn.split('::')[-1] for urn in taken)}")
            self._replace(whole, say)
        return taken

    def look_at(self, urns: list[str]) -> None:
        """What these are by now; what is not there is dropped."""
        if urns:
            self.run(lambda stack, **how: stack.refresh(target=urns, **how), quiet)

    def _replace(self, deployment: dict[str, Any], say: Say) -> None:
        from pulumi.automation import Deployment

        state = Deployment(version=3, deployment=deployment)
        self._past_the_dead(lambda: self.ask(lambda: self.stack.import_stack(state)), say)


class _Told:
    """One line for each thing that was changed, and one before those that take minutes."""

    def __init__(self, say: Say) -> None:
        self._say, self._since = say, dict[str, float]()

    def hear(self, event: Any) -> None:
        if (before := event.resource_pre_event) is not None and not before.planning:
            self._since[before.metadata.urn] = time.monotonic()
            if before.metadata.type.endswith(SLOW) and _op(before) != "same":
                self._line("…", before.metadata, "")
        if (after := event.res_outputs_event) is not None and not after.planning:
            op = _op(after)
            if op != "same" and real(after.metadata.type):
                took = time.monotonic() - self._since.get(after.metadata.urn, time.monotonic())
                kept = op == "delete" and after.metadata.old is not None and after.metadata.old.retain_on_delete
                more = "  stays in AWS" if kept else f"  {seconds(took)}" if took >= 1 else ""
                self._line("=" if kept else MARKS[op], after.metadata, more)

    def _line(self, mark: str, step: Any, took: str) -> None:
        self._say(f"{mark} {called(step.type)} {step.urn.split('::')[-1]}{took}")


def _op(event: Any) -> Op:
    return OPS.get(str(event.metadata.op.value), "same")


class _LeftLockedError(LockedError):
    """Whoever holds the lock ran here and is dead."""

    def __init__(self, who: str):
        self.who = who
        super().__init__(f"{who}, is dead and left its lock")


def _locked(name: str, said: str) -> LockedError:
    held = _HOLDER.search(said)
    if held is None:
        return LockedError(f"{name} is being changed by another process\n  wait for it")
    who = f"{held['user']}@{held['host']}, process {held['pid']}, since {held['since']}"
    if held["host"] == socket.gethostname() and not _lives(int(held["pid"])):
        return _LeftLockedError(who)
    return LockedError(f"{name} is being changed by {who}\n  wait for it; when that process is dead: add --unlock")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _seal(settings: Path, state: State) -> None:
    """A machine that sees a shared stack for the first time must know that a key of KMS seals it; a passphrase is the default."""
    if state.secrets_provider != "passphrase" and not settings.exists():
        settings.write_text(f"secretsprovider: {state.secrets_provider}\n", encoding="utf-8")
