"""A job whose container reads and writes S3 itself, to its end: what ECS and EMR share.

All that is known of a job is at AWS and in the store. A job that runs is found again; one that has sealed its artifact needs no
more; and the number of an attempt is part of its token, so that two who ask at once, or one who was killed in between, get one.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from backends.places.log_tail import Tail
from backends.places.remote import PAPER, Errand
from backends.places.talk import Talk
from backends.places.watch import follow, stopped_with_us
from llmspec import container
from llmspec.errors import PlaceError
from llmspec.job import ROLES, digest_of
from llmspec.progress import publish
from llmspec.store import open_artifact

MOST_ATTEMPTS = 99
AGAIN = 2
"""How often a job is asked for again, by one apply, that failed for AWS's reasons."""
PAUSE_SECONDS = 60.0
"""Before that: capacity that is not there now may be there then."""
BASE = "/tmp/llmspec"
"""Where a container lays what it fetches: on its own disk, where whoever it runs as may write."""


@dataclass(frozen=True)
class Seen:
    """A job as its service describes it now."""

    id: str
    doing: str
    """In the service's own word: `PENDING`."""
    runs: bool
    ending: bool = False
    """It was told to end, and has not yet."""
    why: str = ""
    """What the service says of its end."""
    of_aws: bool = False
    """It failed for want of a machine, or by a fault of AWS."""
    damaged: bool = False
    """An input was not what it should be."""
    stream: str = ""
    """How the names of its streams in the log group begin."""


@dataclass(frozen=True)
class Direct(ABC):
    """One errand at one service."""

    errand: Errand
    talk: Talk

    @abstractmethod
    def running(self) -> Seen | None:
        """The job of this content that runs now, whoever asked for it."""

    @abstractmethod
    def ask(self, token: str, number: int) -> Seen | None:
        """A new job; or that which was asked for with this token before. None when that was another one."""

    @abstractmethod
    def look(self, seen: Seen) -> Seen:
        """As it is now."""

    @abstractmethod
    def end(self, seen: Seen) -> None:
        """Tell it to end."""

    @abstractmethod
    def link(self, seen: Seen) -> str:
        """Its page at AWS's console."""

    @property
    def told(self) -> dict[str, str]:
        """What every such container is told."""
        region = self.errand.site.region
        return {
            container.JOB: f"{self.errand.shelf.below(PAPER).uri}/job.json",
            container.OUTPUT: self.errand.job.output,
            container.BASE: BASE,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }

    @property
    def log_group(self) -> str:
        return str(self.errand.ground["log_groups"][ROLES[self.errand.job.stage]])

    def result(self) -> None:
        """Until the artifact is in the store, or PlaceError with the reason."""
        for left in reversed(range(AGAIN + 1)):
            seen = self.tried()
            if self.sealed():
                self.errand.clear()
                return
            if not seen.of_aws or not left:
                break
            self.talk.note(f"{seen.id}: {seen.why}; asked for again in {PAUSE_SECONDS:.0f} s")
            time.sleep(PAUSE_SECONDS)
        self.fail(seen)

    def tried(self) -> Seen:
        """One job to its end. Interrupted in the midst of asking, we look for what may have begun."""
        known: list[Seen] = []
        with stopped_with_us(self.talk, partial(self.stop, known)):
            known.append(self.begun())
            return self.ended(known[0])

    def begun(self) -> Seen:
        """The job that runs, or a new one."""
        if seen := self.running():
            self.talk.note(f"{seen.id} runs already: nothing is asked for again\n  {self.link(seen)}")
            return seen
        self.errand.hand_over(self.talk.bootstrap)
        for number in range(1, MOST_ATTEMPTS + 1):
            seen = self.ask(digest_of([self.errand.name(number)])[:32], number)
            if seen and seen.ending:
                seen = self.ended(seen)
            if seen and (seen.runs or self.sealed()):
                self.talk.note(f"{seen.id} is asked for: {self.link(seen)}")
                return seen
        raise PlaceError(f"{self.errand.job.stage}: {MOST_ATTEMPTS} jobs of this content failed", str(self.talk.log))

    def ended(self, seen: Seen) -> Seen:
        """Once it has, with all that it said on the way."""
        last = [seen]

        def over() -> bool:
            now = self.look(last[0])
            if now.doing != last[0].doing:
                self.talk.note(f"{now.id}: {now.doing}")
            last[0] = now
            return not now.runs

        tail = Tail(self.errand.site.region, self.log_group, seen.stream)
        follow(self.talk, tail, over)
        return last[0]

    def stop(self, known: list[Seen]) -> None:
        publish(self.errand.job.stage, "stopping")
        try:
            known = known or [seen for seen in [self.running()] if seen]
            for seen in known:
                self.end(seen)
        except PlaceError as error:
            where = "".join(f"\n  {self.link(seen)}" for seen in known)
            self.talk.note(f"{self.errand.job.stage} was not stopped: {error}{where}")

    def sealed(self) -> bool:
        """The container has put all of it into the store."""
        found = open_artifact(self.errand.output)
        return bool(found and found.manifest.key == self.errand.job.key and found.whole())

    def fail(self, seen: Seen) -> NoReturn:
        if seen.damaged:
            self.errand.blame()
        why = self.talk.failure.strip() or seen.why or f"it ended ({seen.doing}) and left no whole artifact"
        raise PlaceError(f"{self.errand.job.stage}: {why}\n  {self.link(seen)}", str(self.talk.log))
