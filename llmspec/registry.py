"""Engines and places, ours and other people's: one entry-point line each, loaded when a spec names them."""

import difflib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from llmspec.section import Section, one_named, wrong

if TYPE_CHECKING:
    import dagster

    from llmspec.job import Job
    from llmspec.release import Live, Release


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
    tool: ClassVar[str] = ""
    """Dagster's icon for it."""
    version: ClassVar[int] = 1
    """Part of every key: raised when the same options give another result."""


class Place(Card):
    """Where a stage is done."""

    runs: ClassVar[tuple[str, ...]] = ()
    """Stages whose jobs it can run to their end."""
    serves: ClassVar[bool] = False
    """Whether it can keep a release alive."""

    def run(self, context: "dagster.AssetExecutionContext", job: "Job") -> None:
        """Run the job to its end; its manifest is in the store when this returns."""
        raise AssertionError(f"{type(self).__name__} runs nothing")

    def serve(self, release: "Release") -> "Live":
        """Make the release live without dropping a request, read back what runs, and say where."""
        raise AssertionError(f"{type(self).__name__} serves nothing")

    def live(self, name: str, target: str) -> "Live | None":
        """What answers there now, asked and not remembered."""
        return None

    def stop(self, name: str, target: str) -> bool:
        """End what is live. False when nothing was."""
        return False

    def logs(self, name: str, target: str) -> str:
        """The folder or address of its logs."""
        return ""


GROUPS = {"engine": "llmspec.engines", "place": "llmspec.places"}
_Card = TypeVar("_Card", bound=Card)


@cache
def registered(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point, nothing imported. Of two with one name the installed order decides, and `backends` shows it."""
    return {point.name: point for point in sorted(entry_points(group=GROUPS[kind]), key=lambda p: p.name)}


@cache
def _load(kind: str, name: str) -> type[Any]:
    return registered(kind)[name].load()  # type: ignore[no-any-return]


def engine(name: str) -> type[Engine]:
    return _load("engine", name)


def place(name: str) -> type[Place]:
    return _load("place", name)


def engines() -> Iterator[tuple[str, type[Engine]]]:
    return ((name, engine(name)) for name in registered("engine"))


def places() -> Iterator[tuple[str, type[Place]]]:
    return ((name, place(name)) for name in registered("place"))


@cache
def name_of(card: type[Card]) -> str:
    """The name a spec uses for this card."""
    kind = "engine" if issubclass(card, Engine) else "place"
    return next(name for name in registered(kind) if _load(kind, name) is card)


def _choose(kind: str, value: Any, known: list[str]) -> tuple[str, Any]:
    value = one_named(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise wrong(f"{kind} is a name or one `name: {{options}}`", f"known: {', '.join(known)}")
    ((name, options),) = value.items()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        cure = f"did you mean '{near[0]}'? " if near else ""
        raise wrong(f"no {kind} named '{name}'", f"{cure}(known: {', '.join(known)})")
    return name, options or {}


class _Choice:
    """A field whose value is a registered card: `name` or `{name: {options}}`."""

    kind: str
    base: type[Card]

    def known(self) -> dict[str, type[Card]]:
        raise AssertionError

    def validate(self, value: Any) -> Card:
        if isinstance(value, self.base):
            return value
        name, options = _choose(self.kind, value, self.names(value))
        return _load(self.kind, name).model_validate(options)  # type: ignore[no-any-return]

    def names(self, value: Any) -> list[str]:
        return list(self.known())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda card: {name_of(type(card)): card.model_dump(mode="json")}
            ),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        known = self.known()
        options = {
            name: {**card.model_json_schema(), "description": (card.__doc__ or "").split("\n")[0]} for name, card in known.items()
        }
        one = {"type": "object", "properties": options, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
        return {"anyOf": [{"enum": list(known)}, one]}


class EngineOf(_Choice):
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


class AnyPlace(_Choice):
    """A place."""

    kind, base = "place", Place

    def known(self) -> dict[str, type[Card]]:
        return dict(places())

    def names(self, value: Any) -> list[str]:
        return list(registered("place"))
