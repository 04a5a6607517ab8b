"""A stack: a program of ours and what was made of it, through Pulumi's Automation API and the user's own `pulumi` executable."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llmspec.infra.change import SECRETS, CloudChange, Steps, real
from llmspec.infra.kept import Kept, kept, stays
from llmspec.infra.state import State
from llmspec.infra.workspace import Say, Workspace, quiet

_Answer = TypeVar("_Answer")


def nothing(_: Say) -> None:
    """It needs nothing before."""


@dataclass(frozen=True)
class Held:
    """A resource that a stack has in AWS."""

    type: str
    name: str
    id: str
    arn: str
    keeps: bool
    """Destroying the stack leaves it there."""


@dataclass(frozen=True)
class Stack:
    """Its name is its identity: another name is another stack."""

    name: str
    program: Callable[[], None]
    region: str
    state: State
    tags: Mapping[str, str] = field(default_factory=dict)
    """What every resource of it carries: a sweep finds by these what no stack has."""
    moves: bool = False
    """The platform changes it by itself: a rollout that went wrong is taken back. Then AWS is asked before every change; the
    state alone would believe that the new one is there, and change nothing."""
    before: Callable[[Say], None] = nothing
    """Whatever has to be there before anything is made: the image that a service is started from."""

    def up(self, say: Say = quiet, asked: bool = False) -> dict[str, Any]:
        """Make what the program asks for; what it gives out. What a killed or a destroyed one left is put in order first. `asked`:
        AWS is asked before that, so that what was changed there by hand is put back."""
        self.before(say)
        self.state.make()
        work = self._open(make=True)
        work.mend(say)
        if left := self._kept.read():
            work.look_at(work.take_in(left, say))
            self._kept.forget()
        return _plain(work.run(lambda stack, **how: stack.up(refresh=self.moves or asked, **how), say).outputs)

    def preview(self, asked: bool = False) -> list[CloudChange]:
        """What `up` would do, without what stays. Nothing is made: a stack that is not there is compared as an empty one."""
        if (work := self._selected()) is None:
            with tempfile.TemporaryDirectory(prefix="llmspec-") as folder:
                nowhere = State(f"file://{folder}", "passphrase", {"PULUMI_CONFIG_PASSPHRASE": "nothing is kept"})
                empty = Workspace(self.name, self.program, self.region, nowhere, make=True, at=Path(folder) / "work")
                if self.state.stands() and (left := self._kept.read()):
                    empty.take_in(left, quiet)
                return _previewed(empty, asked)
        return _previewed(work, asked)

    def exists(self) -> bool:
        """Whether it was ever made."""
        return self._found(lambda work: True, False)

    def outputs(self) -> dict[str, Any]:
        """What it gave out the last time; nothing before the first. Secrets stay in the state."""
        return self._found(lambda work: _plain(work.ask(work.stack.outputs)), {})

    def held(self) -> list[Held]:
        """What it has in AWS, in the order in which it was made."""
        return self._found(lambda work: [_held(each) for each in work.export().get("resources") or [] if real(each["type"])], [])

    def drift(self) -> list[CloudChange]:
        """What differs in AWS from what was made: changed there by hand, or gone. Of secrets the value is not asked for."""
        steps = Steps(refreshing=True)

        def look(work: Workspace) -> list[CloudChange]:
            closed = [each["urn"] for each in work.export().get("resources") or [] if each["type"] in SECRETS]
            work.run(lambda stack, **how: stack.preview_refresh(exclude=closed, **how), quiet, steps)
            return steps.changes()

        return self._found(look, [])

    def destroy(self, say: Say = quiet) -> None:
        """Remove what it has, but for what is kept, and the stack with it. One that was never made is none."""

        def remove(work: Workspace) -> None:
            work.mend(say)
            self._kept.add(kept(work.export()))
            work.run(lambda stack, **how: stack.destroy(remove=True, **how), say)

        self._found(remove, None)

    def cancel(self) -> None:
        """Take the lock off. Only for when whoever holds it is known to be dead."""
        self._found(lambda work: work.ask(work.stack.cancel), None)

    @property
    def _kept(self) -> Kept:
        return Kept(self.state.shelf, self.name)

    def _open(self, make: bool = False) -> Workspace:
        return Workspace(self.name, self.program, self.region, self.state, make=make)

    def _found(self, ask: Callable[[Workspace], _Answer], otherwise: _Answer) -> _Answer:
        """What a stack that is there answers."""
        work = self._selected()
        return otherwise if work is None else ask(work)

    def _selected(self) -> Workspace | None:
        if not self.state.stands():
            return None
        from pulumi.automation import StackNotFoundError

        try:
            return self._open()
        except StackNotFoundError:
            return None


def _previewed(work: Workspace, asked: bool) -> list[CloudChange]:
    steps = Steps()
    work.run(lambda stack, **how: stack.preview(refresh=asked, **how), quiet, steps)
    return steps.changes()


def _plain(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: output.value for name, output in outputs.items() if not output.secret}


def _held(resource: Mapping[str, Any]) -> Held:
    arn = str((resource.get("outputs") or {}).get("arn") or "")
    name = str(resource["urn"]).split("::")[-1]
    return Held(resource["type"], name, str(resource.get("id", "")), arn, stays(resource))
