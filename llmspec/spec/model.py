"""model: what is trained, from what, and how."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_serializer, model_validator

from llmspec.card import Engine
from llmspec.registry import EngineOf
from llmspec.section import Duration, Like, OutsideKey, SecretText, Section, wrong

GEOGRAPHIES = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""What an inference profile's id begins with."""
_MODEL = r"[a-z0-9-]+\.[A-Za-z0-9.:-]+"
_PROFILE = r"[0-9]{12}:(application-)?inference-profile/[A-Za-z0-9.:-]+"
_IMPORTED = r"[0-9]{12}:imported-model/[a-z0-9]+"


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


class BedrockBase(Section):
    """A model that Amazon Bedrock serves. Nothing is trained: what is asked, and how, is the product."""

    bedrock: Annotated[
        str,
        Field(pattern=rf"^({_MODEL}|arn:aws[a-z-]*:bedrock:[a-z0-9-]+:({_PROFILE}|{_IMPORTED}|:foundation-model/{_MODEL}))$"),
        Like(
            "write a model's id, an inference profile's, or the ARN of either: `amazon.nova-lite-v1:0`, `us.amazon.nova-lite-v1:0`"
        ),
    ]
    """The model's id as Bedrock lists it, an inference profile's (`us.…`, `eu.…`), or the ARN of either or of an imported model."""

    @property
    def is_profile(self) -> bool:
        """Whether it is an inference profile, which passes questions on to a model in one of several regions."""
        return ":inference-profile/" in self.bedrock or ":application-inference-profile/" in self.bedrock or bool(self.geography)

    @property
    def is_imported(self) -> bool:
        return ":imported-model/" in self.bedrock

    @property
    def geography(self) -> str:
        """`us` of `us.amazon.nova-lite-v1:0`; empty for a model of one region."""
        first = self.bedrock.partition(".")[0]
        return first if first in GEOGRAPHIES else ""


_BASES = {"scratch": ScratchBase, "path": PathBase, "spec": SpecBase, "hub": HubBase, "bedrock": BedrockBase}


def _which_base(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Section) else ()
    return next((kind for kind in _BASES if kind in keys), None)


Base = Annotated[
    Annotated[ScratchBase, Tag("scratch")]
    | Annotated[PathBase, Tag("path")]
    | Annotated[SpecBase, Tag("spec")]
    | Annotated[HubBase, Tag("hub")]
    | Annotated[BedrockBase, Tag("bedrock")],
    Discriminator(
        _which_base,
        custom_error_type="llmspec",
        custom_error_message="a base is one of {scratch: tiny}, {path: …}, {spec: …}, {hub: …, revision: …}, {bedrock: …}",
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


class Prompt(Section):
    """How a hosted model is asked, beside endpoint.system_prompt and data.template."""

    examples: int = Field(default=0, ge=0, le=100)
    """So many training rows are said before each question, as if they had been asked and answered; always the same ones."""
    temperature: float | None = Field(default=0.0, ge=0, le=1)
    """For requests that name none; null leaves it to the model, as some take none."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Likewise; left to the model when absent."""


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
    """{scratch: tiny}, {path: …}, {spec: …}, {hub: …, revision: …} or {bedrock: …}."""
    task: Literal["generate"] = "generate"
    """generate: answer in words."""
    method: Literal["full", "lora", "qlora", "prompt"] = "full"
    """full: every weight. lora: a small adapter. qlora: an adapter over a 4-bit base. prompt: nothing, for a hosted base."""
    adapter: Adapter | None = None
    """For lora and qlora; its defaults when absent."""
    prompt: Prompt | None = None
    """For prompt; its defaults when absent."""
    training: Training = Training()
    """The loop."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_follow_base_and_method(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        base, training = value.get("base"), value.get("training", {})
        if isinstance(base, dict) and "bedrock" in base:
            return {"method": "prompt", "prompt": {}, **value} if value.get("method", "prompt") == "prompt" else value
        method = value.get("method", "full")
        if method in ("lora", "qlora") and value.get("adapter") is None:
            value = value | {"adapter": {}}
        if method == "full" and isinstance(base, dict) and isinstance(training, dict):
            value = value | {"training": (FROM_SCRATCH if "scratch" in base else FULL) | training}
        return value

    @model_validator(mode="after")
    def _prompting_fits(self) -> Self:
        hosted = isinstance(self.base, BedrockBase)
        if hosted and self.method != "prompt":
            raise wrong(f"method: {self.method} trains, and a hosted model cannot be trained here", "use method: prompt", "method")
        if self.method == "prompt" and not hosted:
            raise wrong(
                "method: prompt trains nothing, and only a hosted base is of use as it is",
                "use method: full, lora or qlora",
                "method",
            )
        if self.prompt is not None and not hosted:
            raise wrong("prompt does nothing to a base that is trained", "take it out, or use `base: {bedrock: …}`", "prompt")
        idle = next((name for name in ("adapter", "training") if name in self.said), None)
        if hosted and idle:
            raise wrong(f"{idle} has no effect: a hosted model is not trained", "take it out", idle)
        return self

    @model_serializer(mode="wrap")
    def _only_what_counts(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """Nothing is said of training where nothing is trained, nor of a prompt where something is."""
        idle = ("training", "adapter") if self.method == "prompt" else ("prompt",)
        return {name: value for name, value in handler(self).items() if name not in idle}

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        if self.method == "full" and self.adapter is not None:
            raise wrong("adapter does nothing with method: full", "use method: lora, or take adapter out", "adapter")
        if self.method != "full" and isinstance(self.base, ScratchBase):
            raise wrong(f"method: {self.method} on random weights learns nothing", "use method: full", "method")
        return self
