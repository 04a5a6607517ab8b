"""What an engine and a place say of themselves and can be asked: the two contracts that whoever writes one keeps."""

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PrivateAttr
from pydantic_core import PydanticCustomError

from llmspec.errors import PlaceError
from llmspec.section import Section

if TYPE_CHECKING:
    from pathlib import Path

    import dagster

    from llmspec.client import Call
    from llmspec.job import Job
    from llmspec.release import Fleet, Live, Release
    from llmspec.site import Site
    from llmspec.spec import Spec
    from llmspec.spec.traffic import Rollout


class Card(Section):
    """What an engine or a place says of itself before anything heavy is imported."""

    requires: ClassVar[tuple[str, ...]] = ()
    """Modules it needs at work."""
    install: ClassVar[str] = ""
    """The command that brings them."""

    @classmethod
    def missing(cls) -> list[str]:
        """Which of the modules it needs are not installed here."""
        return [name for name in cls.requires if importlib.util.find_spec(name) is None]


class Engine(Card):
    """How a stage is done."""

    stage: ClassVar[str] = ""
    """The stage it can do."""
    work: ClassVar[str] = ""
    """The heavy body, as `module:function(options, inputs, output, report) -> metrics`."""
    tools: ClassVar[tuple[str, ...]] = ()
    """Modules that its work needs and that take seconds to load: a place may load them once for several jobs, ahead and in a
    process that it forks. Leave it empty when one of them starts threads that it relies on."""
    tool: ClassVar[str] = ""
    """Dagster's icon for it."""
    hosted: ClassVar[bool] = False
    """Whether it is for a model that somebody else serves; the others are for one whose weights lie here."""
    makes: ClassVar[str] = ""
    """What its artifact is, where that is not what the stage makes as a rule."""
    version: ClassVar[int] = 1
    """Part of every key: raised when the same options give another result."""


class Place(Card):
    """Where a stage is done."""

    runs: ClassVar[tuple[str, ...]] = ()
    """Stages whose jobs it can run to their end."""
    serves: ClassVar[bool] = False
    """Whether it can keep a release alive."""
    cloud: ClassVar[str] = ""
    """The cloud that it is in: `aws`. Empty for a machine of one's own."""
    engines: ClassVar[tuple[str, ...]] = ()
    """Engines that it can do jobs with; any when empty."""
    signs_in: ClassVar[bool] = False
    """Whether people can be asked to sign in before they ask its endpoint: `endpoint.access.keys: cognito`."""
    for_jobs: ClassVar[tuple[str, ...]] = ()
    """Options that have no effect on an endpoint."""
    for_endpoint: ClassVar[tuple[str, ...]] = ()
    """Options that have no effect on a job."""

    _site: "Site | None" = PrivateAttr(default=None)

    def at(self, site: "Site") -> Self:
        """The same place, working for this product and target."""
        settled = self.model_copy()
        settled._site = site
        return settled

    @property
    def site(self) -> "Site":
        """For whom it works: known to whoever got it from a loaded spec."""
        assert self._site, "Loaded.place gives a place its site"
        return self._site

    @property
    def honours(self) -> tuple[str, ...]:
        """What it makes real of `endpoint.scale`, `rollout` and `variants`: `scale.min`, `rollout`. The rest is refused there."""
        return ()

    def turns_back(self, rollout: "Rollout | None") -> bool:
        """Whether alarms can bring the old release back while the next one takes over."""
        return "rollout" in self.honours

    def doors(self, stage: str) -> tuple[str, ...] | None:
        """Services of AWS that it asks from inside a private network; None where it needs no network of its own."""
        return None

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """What of the spec this place cannot do, or would leave without effect; None when all is well."""
        return None

    def expecting(self, engines: Sequence[Engine]) -> AbstractContextManager[None]:
        """For as long as the block lasts, jobs of these engines are to come: it may get ready for them."""
        return nullcontext()

    def run(self, context: "dagster.AssetExecutionContext", job: "Job") -> None:
        """Run the job to its end; its manifest is in the store when this returns."""
        raise AssertionError(f"{type(self).__name__} runs nothing")

    def serve(self, release: "Release") -> "Live":
        """Make the release live without dropping a request, read back what runs, and say where."""
        raise AssertionError(f"{type(self).__name__} serves nothing")

    def apart(self, release: "Release") -> AbstractContextManager[str]:
        """The URL of the release, brought up for as long as the block lasts, whatever else is live."""
        raise PlaceError(f"{type(self).__name__} brings up a release only by `llmspec apply`")

    def live(self, name: str, target: str) -> "Live | None":
        """What answers there now, asked and not remembered."""
        return None

    def fleet(self) -> "Fleet | None":
        """The copies of what is live, where the next release would not go on with as many by itself."""
        return None

    def stop(self, name: str, target: str) -> bool:
        """End what is live. False when nothing was."""
        return False

    def try_out(self, release: "Release") -> "Live":
        """Serve it beside what is live, at an address of its own, for those who may `test`."""
        raise PlaceError(f"{type(self).__name__} cannot serve a candidate beside what is live")

    def tried(self, name: str, target: str) -> "Live | None":
        """The candidate that answers there now."""
        return None

    def end_trial(self, name: str, target: str) -> bool:
        """End the candidate's endpoint. False when there was none."""
        return False

    def call(self, live: "Live") -> "Call | None":
        """How its endpoint is asked, where the platform lets nobody in by HTTP alone."""
        return None

    def headers(self, live: "Live") -> Mapping[str, str]:
        """What its platform wants of every request over HTTP, by the credentials that are here."""
        return {}

    def bring_journal(self, folder: "Path", since: float) -> None:
        """What its endpoint was asked since that Unix time, into this folder. One that writes there itself has nothing to bring."""

    def logs(self, name: str, target: str) -> str:
        """The folder or address of its logs."""
        return ""
