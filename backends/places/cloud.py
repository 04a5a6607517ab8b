"""How a release becomes live in AWS, at every place: its stack up, what runs read back, and only then it is said to be live."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backends.places.journal_lines import bring
from llmspec.aws import Aws
from llmspec.card import Place
from llmspec.errors import PlaceError
from llmspec.progress import publish
from llmspec.release import Fleet, Live, Release
from llmspec.site import Site

if TYPE_CHECKING:
    from llmspec.client import Call
    from llmspec.infra.stack import Stack

Outputs = Mapping[str, Any]
"""What the service stack gave: `url` and `names`."""
EVERY_SECONDS = 5.0
"""Between two looks at what is on its way."""
PATIENCE_SECONDS = 3600.0
"""For what comes after the stack; beside it, the waiting between the steps of a rollout, which not every stack sees through."""
_Found = TypeVar("_Found")


class Endpoint(ABC):
    """One product's endpoint at one of AWS's services."""

    def __init__(self, site: Site):
        self.site, self.aws = site, Aws(site.region)

    def before(self, outputs: Outputs) -> None:  # noqa: B027 - most have nothing of the kind
        """Before the stack comes up: what would end it, or take away what answers, is put out of its way, or said. `outputs` are
        empty before the first."""

    @abstractmethod
    def settle(self, release: Release, outputs: Outputs) -> None:
        """Wait until it is in service, compare what runs with what was asked for, ask it a question. PlaceError when not."""

    @abstractmethod
    def look(self, outputs: Outputs) -> Live | None:
        """What answers now, asked; None when nothing does."""

    def fleet(self, outputs: Outputs) -> Fleet | None:
        """The copies of what is live, where the next release would not go on with as many by itself."""
        return None

    @abstractmethod
    def console(self, outputs: Outputs) -> str:
        """Where a person looks at it."""

    def watch(self) -> "Watch":
        """Its patience is longer by what the steps of the rollout wait."""
        rollout = self.site.spec.endpoint.rollout
        return Watch(rollout.watched if rollout else 0.0)

    def finished(self, outputs: Outputs) -> bool:
        """After the stack's own waiting ran out: AWS is waited for here. False where there is nothing more to wait for."""
        return False

    def leave(self, outputs: Outputs) -> None:  # noqa: B027 - most have nothing of the kind
        """Before the stack goes: what was made for it and is in no stack."""

    def left(self, outputs: Outputs) -> None:  # noqa: B027 - most have nothing of the kind
        """After the stack is gone: what it leaves to its place."""

    def call(self, outputs: Outputs) -> "Call | None":
        """How it is asked where HTTP alone does not get in."""
        return None

    def headers(self, outputs: Outputs) -> Mapping[str, str]:
        """What it wants of every request, from the credentials that are here."""
        return {}


class InAws(Place):
    """A place whose endpoint is a service stack: the same way for all."""

    def endpoint(self) -> Endpoint:
        raise AssertionError(f"{type(self).__name__} serves nothing")

    def serve(self, release: Release) -> Live:
        return serve(self.endpoint(), release)

    def live(self, name: str, target: str) -> Live | None:
        """Only where a stack was ever built is AWS asked at all: a plan before that needs no credentials."""
        outputs = stood(self.site)
        return self.endpoint().look(outputs) if outputs else None

    def fleet(self) -> Fleet | None:
        outputs = stood(self.site)
        return self.endpoint().fleet(outputs) if outputs else None

    def stop(self, name: str, target: str) -> bool:
        return stop(self.endpoint())

    def logs(self, name: str, target: str) -> str:
        outputs = stood(self.site)
        return Aws(self.site.region).logs(outputs["names"]["log_group"]) if outputs else ""

    def bring_journal(self, folder: Path, since: float) -> None:
        if outputs := stood(self.site):
            bring(Aws(self.site.region), outputs["names"]["log_group"], folder, since)

    def call(self, live: Live) -> "Call | None":
        return self.endpoint().call(stood(self.site))

    def headers(self, live: Live) -> Mapping[str, str]:
        return self.endpoint().headers(stood(self.site))


def serve(endpoint: Endpoint, release: Release) -> Live:
    """The same call again takes up what an earlier one left, however that one ended."""
    from llmspec.infra import stacks

    site, paper = endpoint.site, Paper(endpoint.site)
    paper.begin()
    try:
        known = paper.read()
        endpoint.before(known)
        outputs = _up(endpoint, stacks.service_stack(site, release), known)
        paper.write(outputs)
        endpoint.settle(release, outputs)
        found = endpoint.look(outputs)
        if found is None or found.release != release.number:
            answers = f"release {found.release} answers" if found else "nothing answers"
            raise PlaceError(f"its stack is up, but {answers} at {outputs['url']}")
    except PlaceError as error:
        raise _with_what_is_live(endpoint, release, paper.read(), error) from error
    return found


def _up(endpoint: Endpoint, stack: "Stack", stood: Outputs) -> Outputs:
    """A stack whose waiting ran out is brought up again once AWS is done: it reads what became of it, and makes the rest."""
    from llmspec.infra.failure import UNFINISHED

    try:
        return stack.up(_say)
    except PlaceError as error:
        if UNFINISHED not in str(error) or not (stood and endpoint.finished(stood)):
            raise
    return stack.up(_say)


def stop(endpoint: Endpoint) -> bool:
    """The stack goes, and what was made for it beside it. False when there was none."""
    from llmspec.infra import stacks

    site, paper = endpoint.site, Paper(endpoint.site)
    if not paper.begun:
        return False
    if outputs := paper.read():
        endpoint.leave(outputs)
    stacks.standing(site, "service").destroy(_say)
    if outputs:
        endpoint.left(outputs)
    paper.remove()
    return True


def stood(site: Site) -> Outputs:
    """What the service stack gave when it was last up; empty before that. Names only: what runs under them, AWS is asked."""
    return Paper(site).read()


class Paper:
    """The outputs of the service stack in the store: who shares it can look at the endpoint without Pulumi."""

    def __init__(self, site: Site):
        self._shelf, self._name = site.store, f"{site.name}/service/{site.target}.json"

    @property
    def begun(self) -> bool:
        """Whether a stack was ever begun: from then on there may be something to destroy."""
        return self._shelf.read(self._name) is not None

    def begin(self) -> None:
        if not self.begun:
            self.write({})

    def read(self) -> Outputs:
        return dict(json.loads(self._shelf.read(self._name) or "{}"))

    def write(self, outputs: Outputs) -> None:
        self._shelf.write(self._name, json.dumps(outputs, indent=1, sort_keys=True))

    def remove(self) -> None:
        self._shelf.remove(self._name)


class Watch:
    """Says each state of what is on its way once."""

    def __init__(self, more: float = 0.0) -> None:
        self._said, self._patience = "", PATIENCE_SECONDS + more

    def see(self, state: str) -> None:
        if state != self._said:
            self._said = state
            _say(state)

    @cached_property
    def until(self) -> float:
        return time.monotonic() + self._patience

    def for_(self, look: Callable[[], tuple[_Found | None, str]]) -> _Found:
        """What it finds at last. `look` gives that, or None and the state that it is in."""
        while True:
            found, state = look()
            if found is not None:
                return found
            self.see(state)
            if time.monotonic() > self.until:
                raise PlaceError(f"it is still not in service after {self._patience / 60:.0f} minutes: {state}")
            time.sleep(EVERY_SECONDS)


def address(outputs: Outputs) -> str:
    """The address before `/v1`, which clients add: as a local endpoint says its own."""
    return str(outputs["url"]).removesuffix("/v1")


def _with_what_is_live(endpoint: Endpoint, release: Release, outputs: Outputs, error: PlaceError) -> PlaceError:
    """The cause, where to read on, and what users get meanwhile."""
    cause = str(error).partition("\n  log: ")[0]
    try:
        now = endpoint.look(outputs) if outputs else None
        still = f"release {now.release} still serves: {now.url}" if now else "nothing is in service now"
    except PlaceError as silent:
        still = f"what is live now cannot be asked: {str(silent).splitlines()[0]}"
    where = error.log or (endpoint.console(outputs) if outputs else "")
    return PlaceError(f"release {release.number} is not live: {cause}\n  {still}", where)


def _say(text: str) -> None:
    publish("endpoint", "note", text=text)
