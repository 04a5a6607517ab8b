"""How the next token is chosen from the logits: the likeliest, or by chance within top_p."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """What one request asks for."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None
    """The same seed draws the same tokens, whoever else is in the batch."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer, beside the contract's."""


def choose(logits: "np.ndarray[Any, Any]", sampling: Sampling, random: np.random.Generator) -> int:
    """logits [vocab] -> token."""
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / sampling.temperature
    chances = np.exp(scaled - scaled.max())
    chances /= chances.sum()
    if sampling.top_p >= 1.0:
        return int(_draw(chances, random))
    # Tokens this unlikely hold less than 1 - top_p even together: the nucleus is among the others, and few are sorted.
    likely = np.flatnonzero(chances > (1.0 - sampling.top_p) / len(chances))
    likely = likely[np.argsort(-chances[likely], kind="stable")]
    before = np.cumsum(chances[likely]) - chances[likely]
    nucleus = likely[before < sampling.top_p] if sampling.top_p > 0 else likely[:1]
    return int(nucleus[_draw(chances[nucleus], random)])


def _draw(chances: "np.ndarray[Any, Any]", random: np.random.Generator) -> int:
    heights = np.cumsum(chances)
    return int(min(np.searchsorted(heights, random.random() * heights[-1], side="right"), len(chances) - 1))


def log_chances(logits: "np.ndarray[Any, Any]", tokens: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """logits [n, vocab], tokens [n] -> log p of each token."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=-1, keepdims=True)
    whole = np.log(np.exp(logits - top).sum(axis=-1)) + top[:, 0]
    return np.asarray(np.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0] - whole)
