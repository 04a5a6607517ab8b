"""model: what is trained, from what, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from llmspec.registry import Engine, EngineOf
from llmspec.section import Duration, Like, OutsideKey, SecretText, Section, wrong


class ScratchBase(Section):
    """A small Llama with random weights: for tests, teaching, and questions a small model can hold."""

    scratch: Literal["tiny"]
    """tiny: 4 layers, 192 wide, about 1.7 M parameters."""


class PathBase(Section):
    """A transformers checkpoint in a folder."""

    path: Annotated[str, OutsideKey()] = Field(min_length=1)
    """The folder, relative to the spec."""


class SpecBase(Section):
    """The model that another spec trains, in the same store."""

    spec: Annotated[str, Field(pattern=r"\.ya?ml$"), OutsideKey(), Like("name the other spec's file: `other.yaml`")]
    """The other spec's file, relative to this one."""


class HubBase(Section):
    """A model from the Hugging Face hub."""

    hub: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"), Like("write organisation/name: `Qwen/Qwen3-0.6B`")
    ]
    """`organisation/name`."""
    revision: Annotated[
        str, Field(pattern=r"^[0-9a-f]{40}$"), Like("write the commit's 40 digits; the hub lists them under 'Files and versions'")
    ]
    """The commit, all 40 digits: a branch moves, and a model that moves cannot be explained."""
    token: Annotated[SecretText | None, OutsideKey()] = None
    """For gated models: `${secret.HF_TOKEN}`."""


_BASES = {"scratch": ScratchBase, "path": PathBase, "spec": SpecBase, "hub": HubBase}


def _which_base(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Section) else ()
    return next((kind for kind in _BASES if kind in keys), None)


Base = Annotated[
    Annotated[ScratchBase, Tag("scratch")]
    | Annotated[PathBase, Tag("path")]
    | Annotated[SpecBase, Tag("spec")]
    | Annotated[HubBase, Tag("hub")],
    Discriminator(
        _which_base,
        custom_error_type="llmspec",
        custom_error_message="a base is one of {scratch: tiny}, {path: …}, {spec: …}, {hub: …, revision: …}",
    ),
]


class Adapter(Section):
    """The low-rank matrices that lora and qlora train."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Width of the adapter."""
    alpha: float = Field(default=16, gt=0)
    """Its weight: the update counts alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's input that is dropped while training."""
    modules: Literal["auto"] | Annotated[list[str], Field(min_length=1)] = "auto"
    """Which linear layers it sits on; auto: all but the output head."""


class Training(Section):
    """The loop."""

    epochs: float = Field(default=3, gt=0)
    """How often each row is seen; from scratch 4 when absent."""
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    """Peak rate, reached after warm-up; when absent 4e-3 from scratch, 2e-5 for method full on a trained base."""
    batch_tokens: int = Field(default=16_384, ge=64)
    """Tokens per optimizer step; what does not fit in memory at once is accumulated. From scratch 512 when absent."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after warm-up."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the rate climbs; from scratch 0.1 when absent."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Pull of the weights towards zero."""
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    seed: int = Field(default=7, ge=0, lt=2**32)
    """Initial weights and row order."""
    checkpoint_every: Annotated[Duration, OutsideKey()] = Field(default=300.0, gt=0)
    """How much work a crash may cost."""


FROM_SCRATCH = {"epochs": 4, "learning_rate": 4e-3, "batch_tokens": 512, "warmup": 0.1}
"""Small steps and a high rate: random weights have everything to learn."""
FULL = {"learning_rate": 2e-5}
"""A trained base is moved with care when all of it moves."""


class Model(Section):
    """From token ids to a checkpoint."""

    engine: Annotated[Engine, EngineOf("model")] = Field(default="train_hf", validate_default=True)
    """The tool that does it."""
    base: Base
    """{scratch: tiny}, {path: …}, {spec: …} or {hub: …, revision: …}."""
    task: Literal["generate"] = "generate"
    """generate: answer in words."""
    method: Literal["full", "lora", "qlora"] = "full"
    """full: every weight. lora: a small adapter. qlora: an adapter over a 4-bit base."""
    adapter: Adapter | None = None
    """For lora and qlora; its defaults when absent."""
    training: Training = Training()
    """The loop."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_follow_base_and_method(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        method, base, training = value.get("method", "full"), value.get("base"), value.get("training", {})
        if method in ("lora", "qlora") and value.get("adapter") is None:
            value = value | {"adapter": {}}
        if method == "full" and isinstance(base, dict) and isinstance(training, dict):
            value = value | {"training": (FROM_SCRATCH if "scratch" in base else FULL) | training}
        return value

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        if self.method == "full" and self.adapter is not None:
            raise wrong("adapter does nothing with method: full", "use method: lora, or take adapter out", "adapter")
        if self.method != "full" and isinstance(self.base, ScratchBase):
            raise wrong(f"method: {self.method} on random weights learns nothing", "use method: full", "method")
        return self
