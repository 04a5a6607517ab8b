"""Engines and places, ours and other people's: one entry-point line each, loaded when a spec names them."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PrivateAttr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from llmspec.errors import PlaceError
from llmspec.section import Section, did_you_mean, one_named, wrong

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


GROUPS = {"engine": "llmspec.engines", "place": "llmspec.places"}
_Card = TypeVar("_Card", bound=Card)


@cache
def _installed() -> EntryPoints:
    """Every entry point of every installed package: one walk over the disk serves both groups."""
    return cast("EntryPoints", entry_points())  # typed for Python 3.9's dict, which 3.11 shows only with a warning


@cache
def registered(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point, nothing imported. Of two with one name the installed order decides, and `backends` shows it."""
    return {point.name: point for point in sorted(_installed().select(group=GROUPS[kind]), key=lambda p: p.name)}


@cache
def _load(kind: str, name: str) -> type[Any]:
    point = registered(kind)[name]
    try:
        card = point.load()
    except Exception as error:  # another's package may fail in any way; the spec that names it is told
        said = f"{kind} '{name}' cannot be loaded from {point.value}: {type(error).__name__}: {error}"
        raise wrong(said, "repair or remove the package that brings it") from error
    if not isinstance(card, type) or not issubclass(card, Engine if kind == "engine" else Place):
        raise wrong(f"{point.value} is no {kind}", f"its class must be a subclass of llmspec.registry.{kind.capitalize()}")
    return card


def engine(name: str) -> type[Engine]:
    return _load("engine", name)


def place(name: str) -> type[Place]:
    return _load("place", name)


def engines() -> Iterator[tuple[str, type[Engine]]]:
    """Those that load. `broken` names the others."""
    return ((name, engine(name)) for name in registered("engine") if not broken("engine", name))


def places() -> Iterator[tuple[str, type[Place]]]:
    """Those that load. `broken` names the others."""
    return ((name, place(name)) for name in registered("place") if not broken("place", name))


@cache
def broken(kind: str, name: str) -> str:
    """Why a registered card does not load; empty when it does. One broken package takes no other down."""
    try:
        _load(kind, name)
    except PydanticCustomError as error:
        return error.message()
    return ""


@cache
def name_of(card: type[Card]) -> str:
    """The name a spec uses for this card."""
    kind = "engine" if issubclass(card, Engine) else "place"
    written = f"{card.__module__}:{card.__qualname__}"
    direct = (name for name, point in registered(kind).items() if point.value == written)
    known = engines() if kind == "engine" else places()
    return next(direct, "") or next(name for name, other in known if other is card)


def _choose(kind: str, value: Any, known: list[str]) -> tuple[str, Any]:
    value = one_named(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise wrong(f"{kind} is a name or one `name: {{options}}`", f"known: {', '.join(known)}")
    ((name, options),) = value.items()
    if name not in known:
        raise wrong(f"no {kind} named '{str(name)[:60]}'", did_you_mean(str(name), known), word=str(name))
    return name, {} if options is None else options


def _below(name: str, error: ValidationError) -> ValidationError:
    """The same errors, placed below the card's name, as they are in YAML."""
    lines: list[InitErrorDetails] = []
    for item in error.errors(include_url=False):
        context = item.get("ctx", {})
        kind = wrong(**context) if item["type"] == "llmspec" else item["type"]
        lines.append({"type": kind, "loc": (name, *item["loc"]), "input": item["input"], "ctx": context})
    return ValidationError.from_exception_data(error.title, lines)


def _as_written(card: Card) -> dict[str, Any]:
    """A card in JSON, as YAML would name it."""
    kind: type[Card] = type(card)
    return {name_of(kind): card.model_dump(mode="json")}


class Choice:
    """A field whose value is a registered card: `name` or `{name: {options}}`."""

    kind: str
    base: type[Card]

    def known(self) -> dict[str, type[Card]]:
        raise AssertionError

    def validate(self, value: Any) -> Card:
        if isinstance(value, self.base):
            return value
        name, options = _choose(self.kind, value, self.names(value))
        try:
            return _load(self.kind, name).model_validate(options)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise _below(name, error) from None

    def card(self, name: str) -> type[Card] | None:
        """The card behind a name, when there is one."""
        return None if name not in registered(self.kind) or broken(self.kind, name) else _load(self.kind, name)

    def names(self, value: Any) -> list[str]:
        return list(self.known())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_as_written),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        known = self.known()
        for card in known.values():
            card.model_rebuild()
        options = {name: {"anyOf": [handler(card.__pydantic_core_schema__), {"type": "null"}]} for name, card in known.items()}
        bare = [name for name, card in known.items() if not any(field.is_required() for field in card.model_fields.values())]
        one = {"type": "object", "properties": options, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
        return {"anyOf": [{"enum": bare}, one] if bare else [one]}


class EngineOf(Choice):
    """An engine that can do this stage."""

    kind, base = "engine", Engine

    def __init__(self, stage: str):
        self.stage = stage

    def known(self) -> dict[str, type[Card]]:
        return {name: card for name, card in engines() if card.stage == self.stage}

    def names(self, value: Any) -> list[str]:
        name = value if isinstance(value, str) else next(iter(value), None) if isinstance(value, dict) else None
        if name in registered("engine") and engine(str(name)).stage == self.stage:
            return [str(name)]  # the common case imports one card, not all of them
        return list(self.known())

    def card(self, name: str) -> type[Card] | None:
        found = super().card(name)
        return found if found is not None and issubclass(found, Engine) and found.stage == self.stage else None


class AnyPlace(Choice):
    """A place."""

    kind, base = "place", Place

    def known(self) -> dict[str, type[Card]]:
        return dict(places())

    def names(self, value: Any) -> list[str]:
        return list(registered("place"))
