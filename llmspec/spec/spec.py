"""The whole spec: one LLM product."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_serializer, model_validator

from llmspec import registry
from llmspec.card import Place
from llmspec.registry import AnyPlace, name_of
from llmspec.section import STAGES, Like, Section, wrong
from llmspec.spec import effect, hosted
from llmspec.spec.data import Data
from llmspec.spec.endpoint import Endpoint
from llmspec.spec.evaluation import Evaluation
from llmspec.spec.features import Features
from llmspec.spec.governance import Governance, Region
from llmspec.spec.model import BedrockBase, HubBase, Model, PathBase, ScratchBase, SpecBase
from llmspec.spec.monitors import Monitors
from llmspec.spec.onnx import Onnx

StageName = Literal["data", "features", "model", "onnx", "evaluation", "endpoint", "monitors"]
DEFAULT_STORE = ".llmspec/store"
NAME = r"^[a-z][a-z0-9-]{0,62}$"
NAMED = Like("write small letters, digits and '-', a letter first: `support-bot`")
_TAG = Like("a tag is letters, digits, '.', '_' and '-', at most 63 of them")
_VAR = Like("a var is letters, digits, '_' and '-', a letter first: `region`")
_TARGET = Like("a target is small letters, digits and '-', a letter first, at most 63 of them: `prod`")


class Target(Section):
    """An overlay: what is different there. Mappings merge into the spec, lists and scalars replace."""

    default: bool = False
    """Whether it is meant when no --target is given."""
    description: str | None = None
    """Overlays the description."""
    owner: str | None = None
    """Overlays the owner."""
    tags: dict[str, Any] | None = None
    """Overlays the tags."""
    vars: dict[str, Any] | None = None
    """Overlays the vars."""
    store: str | None = None
    """Overlays the store."""
    region: str | None = None
    """Overlays the region."""
    places: dict[str, Any] | None = None
    """Overlays the places."""
    data: dict[str, Any] | None = None
    """Overlays data."""
    features: dict[str, Any] | None = None
    """Overlays features."""
    model: dict[str, Any] | None = None
    """Overlays model."""
    onnx: dict[str, Any] | None = None
    """Overlays onnx."""
    evaluation: dict[str, Any] | None = None
    """Overlays evaluation."""
    endpoint: dict[str, Any] | None = None
    """Overlays endpoint."""
    monitors: dict[str, Any] | None = None
    """Overlays monitors."""
    governance: dict[str, Any] | None = None
    """Overlays governance."""


class Spec(Section):
    """One LLM product, at one target."""

    llmspec: Literal[1]
    """Version of the language."""
    name: Annotated[str, Field(pattern=NAME), NAMED]
    """What it is called everywhere; the same as the file's stem."""
    description: str = ""
    """One sentence for people."""
    owner: Annotated[
        str | None,
        Field(pattern=r"^(team:[\w.-]+|[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7})$"),
        Like("write `team:NAME` or an e-mail that Dagster can show: `team:search`, `ana@acme.example`"),
    ] = None
    """Who answers for it: an e-mail or `team:NAME`."""
    tags: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$"), _TAG],
        Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,63}$"), _TAG],
    ] = {}
    """Labels for Dagster and the cloud."""
    vars: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$"), _VAR], str | int | float | bool] = {}
    """Names for values used more than once: `${var.region}`."""
    store: str = Field(default=DEFAULT_STORE, min_length=1)
    """Where artifacts live: a folder, relative to where llmspec runs, or `s3://bucket/prefix`."""
    region: Region | None = None
    """The AWS region of everything that is in AWS; needed where something is."""
    places: dict[StageName, Annotated[Place, AnyPlace()]] = {}
    """Where each stage is done; local when absent."""
    data: Data
    """Where rows come from, and how they are cleaned."""
    features: Features = Field(default_factory=Features)
    """How rows become token ids."""
    model: Model
    """What is trained, from what, and how."""
    onnx: Onnx = Field(default_factory=Onnx)
    """The artifact that is evaluated and served."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """What the artifact must score to be served."""
    endpoint: Endpoint = Field(default_factory=Endpoint)
    """How it answers the world."""
    monitors: Monitors = Field(default_factory=Monitors)
    """What is watched once it is live."""
    governance: Governance | None = None
    """What is recorded, kept, copied and spent in AWS."""
    targets: dict[Annotated[str, Field(pattern=NAME), _TARGET], Target] = Field(default={}, max_length=50)
    """Named overlays of this spec: `local`, `prod`."""

    @field_validator("store")
    @classmethod
    def _store_can_be_opened(cls, store: str) -> str:
        scheme, found, rest = store.partition("://")
        if not found:
            return store
        if scheme != "s3":
            raise wrong(f"a store is a folder or in S3, and {store!r} is neither", "name a folder, or `s3://bucket/prefix`")
        bucket, _, prefix = rest.rstrip("/").partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise wrong(f"no bucket can be called {bucket!r}", "3 to 63 small letters, digits, '-' and '.': `s3://acme-llm/bots`")
        if not re.fullmatch(r"[A-Za-z0-9!_.*'()/-]{0,512}", prefix) or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
            raise wrong(f"{prefix!r} is no prefix for keys", "letters, digits, '-', '_' and '.' between single '/'")
        return f"s3://{bucket}/{prefix}".rstrip("/")

    @model_validator(mode="before")
    @classmethod
    def _engines_follow_base(cls, value: Any) -> Any:
        return hosted.defaults(value)

    @model_serializer(mode="wrap")
    def _only_what_counts(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """Nothing is said of options that have no effect on a hosted model."""
        made = handler(self)
        return hosted.said(made) if self.hosted else made

    @property
    def addresses(self) -> tuple[str, ...]:
        """Who is told of money: who is told of alarms, and who answers for the product where that is an address."""
        told = self.monitors.notify.email if self.monitors.notify else None
        answers = self.owner if self.owner and "@" in self.owner else None
        return tuple(dict.fromkeys(address for address in (told, answers) if address))

    @property
    def in_aws(self) -> dict[str, Place]:
        """Stage -> its place, where that is in AWS."""
        return {stage: place for stage, place in self.places.items() if place.cloud == "aws"}

    @property
    def in_a_cloud(self) -> bool:
        """Whether any of it is done elsewhere than here."""
        return any(place.cloud for place in self.places.values())

    @property
    def hosted(self) -> BedrockBase | None:
        """The base, when somebody else serves it."""
        return self.model.base if isinstance(self.model.base, BedrockBase) else None

    @model_validator(mode="after")
    def _tokenizer_fits(self) -> Self:
        if self.features.tokenizer == "base" and isinstance(self.model.base, ScratchBase):
            raise wrong(
                "a base from scratch has no tokenizer",
                "use `tokenizer: auto` or `tokenizer: {train: bpe}`",
                "features.tokenizer",
            )
        if isinstance(self.model.base, HubBase | PathBase | SpecBase) and not isinstance(self.features.tokenizer, str):
            raise wrong(
                "a trained base knows only its own tokenizer", "use `tokenizer: base`, or a base from scratch", "features.tokenizer"
            )
        return self

    @model_validator(mode="after")
    def _places_fit(self) -> Self:
        for stage, place in self.places.items():
            able = place.serves if stage == "endpoint" else stage in place.runs
            if not able:
                here = "leave it out: they are looked at where llmspec runs, wherever the endpoint is"
                cure = here if stage == "monitors" else "see `llmspec backends`"
                raise wrong(f"{name_of(type(place))} cannot do {stage}", cure, f"places.{stage}")
        return self

    @model_validator(mode="after")
    def _every_option_takes_effect(self) -> Self:
        if error := next(effect.without(self), None):
            raise error
        return self

    @model_validator(mode="after")
    def _one_default_target(self) -> Self:
        defaults = [name for name, target in self.targets.items() if target.default]
        if len(defaults) > 1:
            raise wrong(f"{' and '.join(defaults)} are both `default: true`", "keep one", f"targets.{defaults[1]}.default")
        return self

    def place(self, stage: str) -> Place:
        """Where a stage is done."""
        return self.places.get(stage) or registry.place("local")()  # type: ignore[call-overload]

    def section(self, stage: str) -> Section:
        """What the spec says of a stage."""
        assert stage in STAGES
        section = getattr(self, stage)
        assert isinstance(section, Section)
        return section
