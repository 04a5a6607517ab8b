"""features: how rows become token ids."""

from typing import Annotated, Literal

from pydantic import Field

from llmspec.card import Engine
from llmspec.registry import EngineOf
from llmspec.section import Section


class TrainedTokenizer(Section):
    """A tokenizer learned from the training rows."""

    train: Literal["bpe"]
    """bpe: byte-level byte-pair encoding; every text has a spelling in it."""
    vocab_size: int = Field(default=1024, ge=300, le=200_000)
    """How many tokens it may learn, special ones included."""


class Features(Section):
    """From clean rows to token ids with a loss mask."""

    engine: Annotated[Engine, EngineOf("features")] = Field(default="tokenize_hf", validate_default=True)
    """The tool that does it."""
    tokenizer: Annotated[Literal["auto", "base"] | TrainedTokenizer, Field(union_mode="left_to_right")] = "auto"
    """auto: the base model's own, or a BPE trained on the rows when the base starts from scratch."""
    max_tokens: int = Field(default=512, ge=16, le=131_072)
    """Longer rows are cut at this length, and the table says which."""
    pack: bool = True
    """Rows share a sequence, without seeing each other: no compute is spent on padding."""
    loss_on: Literal["answer", "all"] = "answer"
    """What the model is taught to write: the answer only, or the question too."""
