"""Engines and places, ours and other people's: one entry-point line each, loaded when a spec names them."""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from llmspec.card import Card, Engine, Place
from llmspec.section import did_you_mean, one_named, wrong

GROUPS = {"engine": "llmspec.engines", "place": "llmspec.places"}


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
        raise wrong(f"{point.value} is no {kind}", f"its class must be a subclass of llmspec.card.{kind.capitalize()}")
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
