"""What a request wants of its answer's tokens, and what is kept about each of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from backends.serving.grammar import Grammar


class Scored(NamedTuple):
    """A token with its log probability, as the model gives it: before temperature, penalties, bias and grammar."""

    token: int
    logprob: float | None
    """None for a prompt's first token, which nothing precedes."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens at this place, the likeliest first."""


@dataclass(frozen=True)
class Sampling:
    """What one answer shall be like."""

    max_tokens: int
    """0 only reads the prompt."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that hold this much of the chance."""
    top_k: int = 0
    """Draw among so many of the likeliest; 0 is all."""
    min_p: float = 0.0
    """Leave out what has less than this part of the likeliest one's chance."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of prompt and answer become less likely to come again."""
    presence_penalty: float = 0.0
    """Taken from the logit of every token that the answer has already."""
    frequency_penalty: float = 0.0
    """Taken once for each time that the answer has it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token and what is added to its logit."""
    seed: int | None = None
    """The same seed draws the same tokens, whoever else is in the batch."""
    choice: int = 0
    """Which of a request's `n` answers this is: each draws its own."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer, beside the contract's."""
    logprobs: int | None = None
    """Keep each token's log probability, and so many of the likeliest tokens' beside it."""
    prompt_logprobs: int | None = None
    """Likewise for the prompt's tokens."""
    grammar: "Grammar | None" = None
    """What the answer's text must be."""

    @cached_property
    def penalised(self) -> bool:
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    @cached_property
    def plain(self) -> bool:
        """The likeliest token and nothing else: the engine may choose for many at once."""
        shaped = self.penalised or self.logit_bias or self.grammar
        return self.temperature == 0.0 and self.logprobs is None and not shaped


def log_sum(logits: "np.ndarray[Any, Any]") -> float:
    """logits [vocab] -> the logarithm of the sum of their exponentials."""
    top = logits.max()
    return float(top) + float(np.log(np.exp(logits - top).sum(dtype=np.float64)))


def log_chances(logits: "np.ndarray[Any, Any]", tokens: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """logits [n, vocab], tokens [n] -> log p of each token."""
    # Row by row: a chunk's logits once more in another type would be as large as the model.
    rows = (row.astype(np.float32, copy=False) for row in logits)
    return np.array([float(row[token]) - log_sum(row) for row, token in zip(rows, tokens, strict=True)], np.float64)
