"""A job at SageMaker, to its end: attached to where it runs already, taken where it has ended, asked for where it is neither.

All that is known of a job is at AWS, under a name that follows from what is to be made. So whoever asks, and whatever was killed
before, comes to the same job, and none is paid for twice. One that failed keeps its name, and the next attempt has the next number.
"""

import re
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backends.places.log_tail import Tail
from backends.places.remote import Errand
from backends.places.sagemaker_request import Kind, kind_of, output_of, request
from backends.places.talk import Talk, talking
from backends.places.watch import follow, stopped_with_us
from llmspec.aws import Aws, RefusedError
from llmspec.errors import DAMAGED_CODE, PlaceError
from llmspec.infra import build
from llmspec.job import Job
from llmspec.progress import publish
from llmspec.shelf_s3 import S3Shelf
from llmspec.store import Artifact

if TYPE_CHECKING:
    import dagster

    from backends.places.sagemaker import SageMaker

MOST_ATTEMPTS = 99
AGAIN = 2
"""How often a job is asked for again, by one apply, that failed for AWS's reasons."""
PAUSE_SECONDS = 60.0
"""Before that: capacity that is not there now may be there then."""
_OF_AWS = ("CapacityError", "InternalServerError")


@dataclass(frozen=True)
class Seen:
    """A job as SageMaker describes it now."""

    kind: Kind
    name: str
    said: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.said[f"{self.kind.called}Status"])

    @property
    def runs(self) -> bool:
        return self.status in ("InProgress", "Stopping")

    @property
    def reason(self) -> str:
        return str(self.said.get("FailureReason", ""))

    @property
    def of_aws(self) -> bool:
        return self.status == "Failed" and self.reason.startswith(_OF_AWS)

    @property
    def damaged(self) -> bool:
        found = re.search(r"exit code:? (\d+)", self.reason)
        return found is not None and int(found[1]) == DAMAGED_CODE

    def why(self, last_words: str) -> str:
        """The work's own word before SageMaker's."""
        second = str(self.said.get("SecondaryStatus", ""))
        if second.startswith("Max"):
            which = "max_runtime" if second == "MaxRuntimeExceeded" else "its time to wait for spare capacity"
            return f"it was ended because it took longer than {which}; what it had learned is kept, and apply goes on from there"
        own = str(self.said.get("ExitMessage") or last_words).strip()
        return own or self.reason or "SageMaker gives no reason"


@dataclass(frozen=True)
class Work:
    """One errand at SageMaker."""

    place: "SageMaker"
    errand: Errand
    talk: Talk

    @property
    def kind(self) -> Kind:
        return kind_of(self.errand.job.stage)

    @property
    def aws(self) -> Aws:
        return Aws(self.errand.site.region)

    def result(self) -> Artifact:
        """What came of it, or PlaceError with the reason."""
        for left in reversed(range(AGAIN + 1)):
            seen = self.ended(self.begun())
            if seen.status == "Completed":
                if made := self.left_by(seen):
                    return made
                raise self.failed(seen, "it ended well and left no whole artifact")
            if not seen.of_aws or not left:
                break
            self.talk.note(f"{seen.name}: {seen.reason}; asked for again in {PAUSE_SECONDS:.0f} s")
            time.sleep(PAUSE_SECONDS)
        raise self.failed(seen, seen.why(self.talk.failure))

    def begun(self) -> Seen:
        """The job that runs, or has ended well and was not taken yet, or a new one."""
        for number in range(1, MOST_ATTEMPTS + 1):
            name = self.errand.name(number)
            seen = self.look(name)
            if seen is not None and seen.status == "Stopping":
                seen = self.ended(seen)
            if seen is None:
                return self.create(name)
            if seen.runs or (seen.status == "Completed" and self.left_by(seen)):
                self.talk.note(f"{name} {'runs already' if seen.runs else 'has ended meanwhile'}: nothing is asked for again")
                return seen
        raise PlaceError(f"{self.errand.job.stage}: {MOST_ATTEMPTS} jobs of this content failed\n  last: {self.link(name)}")

    def create(self, name: str) -> Seen:
        """All that can be wrong is looked at before anything is sent."""
        image = build.required(self.errand.site, build.training())
        wanted, verb = request(self.place, self.errand, image, name), f"create_{self.kind.noun}"
        if faults := self.aws.faults("sagemaker", verb, wanted):
            raise PlaceError("\n".join(f"{self.errand.job.stage}: {fault}" for fault in faults))
        self.errand.hand_over(self.talk.bootstrap)
        with stopped_with_us(self.talk, partial(self.stop, name)):
            try:
                self.aws.ask("sagemaker", verb, **wanted)
            except RefusedError as error:
                if not error.taken:
                    raise
            self.talk.note(f"{name} is asked for: {self.link(name)}")
            return self.look(name) or Seen(self.kind, name, {f"{self.kind.called}Status": "InProgress"})

    def look(self, name: str) -> Seen | None:
        said = self.aws.look("sagemaker", f"describe_{self.kind.noun}", **self._named(name))
        return Seen(self.kind, name, said) if said else None

    def ended(self, seen: Seen) -> Seen:
        """Once it has, with all that it said on the way."""
        tail = Tail(self.errand.site.region, self.kind.log_group, f"{seen.name}/")
        last = [seen]

        def over() -> bool:
            last.append(self.look(seen.name) or last[-1])
            if (now := _doing(last[-1])) != _doing(last[-2]):
                self.talk.note(f"{seen.name}: {now}")
            del last[:-1]
            return not last[0].runs

        with stopped_with_us(self.talk, partial(self.stop, seen.name)):
            follow(self.talk, tail, over)
        return last[0]

    def stop(self, name: str) -> None:
        publish(self.errand.job.stage, "stopping")
        try:
            self.aws.ask("sagemaker", f"stop_{self.kind.noun}", **self._named(name))
        except RefusedError as error:
            self.talk.note(f"{name} was not stopped: {error}")

    def left_by(self, seen: Seen) -> Artifact | None:
        where = seen.said.get("ModelArtifacts", {}).get("S3ModelArtifacts") or output_of(self.errand, seen.name)
        return self.errand.made(S3Shelf.at(where))

    def failed(self, seen: Seen, why: str) -> PlaceError:
        if seen.damaged:
            self.errand.blame()
        return PlaceError(f"{seen.name} {seen.status.lower()}: {why}\n  {self.link(seen.name)}", str(self.talk.log))

    def link(self, name: str) -> str:
        return self.kind.link(self.errand.site.region, name)

    def _named(self, name: str) -> dict[str, str]:
        return {f"{self.kind.called}Name": name}


def _doing(seen: Seen) -> str:
    return str(seen.said.get("SecondaryStatus") or seen.status)


def run(place: "SageMaker", context: "dagster.AssetExecutionContext", job: Job) -> None:
    """To the artifact in the store."""
    errand = Errand(place.site, job)
    with talking(context, job) as talk:
        made = Work(place, errand, talk).result()
        talk.note(f"{sum(file.bytes for file in made.manifest.files.values()) / 1e6:,.1f} MB go into the store")
        errand.take(made)
