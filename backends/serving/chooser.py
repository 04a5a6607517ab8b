"""One answer's tokens, chosen one after the other from the logits."""

from typing import Any

import numpy as np

from backends.serving.sampling import Sampling, Scored, log_sum

Row = np.ndarray[Any, Any]
"""Numbers for every token of the vocabulary."""
BLOCK = 256
"""Tokens that are looked at together: first the right block is found, then the token in it."""
FEW = 64
"""So many of the likeliest tokens are sorted to find the nucleus; where they are not enough, no more are: chances are summed
by how far they lie below the highest, and only those at the border are sorted."""
STEPS, DEEPEST = 32, 2047
"""Steps in one unit of the logits, and the last step: below it nothing is left of a chance."""


class Chooser:
    """Chooses, and remembers what the choice depends on. `next` is called once for each token, in their order."""

    def __init__(self, sampling: Sampling, prompt: list[int]):
        self._sampling, self._prompt = sampling, prompt
        self._random = None if sampling.temperature == 0.0 else np.random.default_rng(_seeds(sampling))
        self._grammar = sampling.grammar.begin() if sampling.grammar else None
        self._counts: Row | None = None
        """How often the answer has each token; the prompt's are marked in `_seen`."""
        self._seen: Row | None = None
        self.logprobs: list[Scored] = []
        self.prompt_logprobs: list[Scored] = [Scored(prompt[0], None)] if sampling.prompt_logprobs is not None else []
        self.done = False
        """The answer is complete: nothing can follow."""

    @property
    def fault(self) -> str:
        """Why the grammar could not be followed to its end; empty when it was."""
        return self._grammar.fault if self._grammar else ""

    def next(self, logits: Row) -> int:
        """logits [vocab] -> token."""
        logits = numbers(logits)
        token = self._choose(self._shaped(logits))
        if self._sampling.logprobs is not None:
            self.logprobs.append(scored(logits, token, self._sampling.logprobs))
        if self._counts is not None and self._seen is not None:
            self._counts[token] += 1
            self._seen[token] = True
        if self._grammar:
            self.done = self._grammar.take(token)
        return token

    def score(self, logits: Row, following: Row) -> None:
        """logits [n, vocab] of a part of the prompt, following [n]: the tokens that really came next."""
        most = self._sampling.prompt_logprobs or 0
        self.prompt_logprobs += [scored(numbers(row), int(token), most) for row, token in zip(logits, following, strict=True)]

    def _shaped(self, logits: Row) -> Row:
        """The logits after penalties, bias and grammar."""
        if self._sampling.penalised:
            logits = self._penalised(logits)
        if self._sampling.logit_bias:
            tokens, values = zip(*self._sampling.logit_bias, strict=True)
            logits = logits.copy()
            logits[list(tokens)] += np.array(values, np.float32)
        return logits + self._grammar.mask(len(logits)) if self._grammar else logits

    def _penalised(self, logits: Row) -> Row:
        if self._counts is None or self._seen is None:
            self._counts, self._seen = np.zeros(len(logits), np.float32), np.zeros(len(logits), bool)
            self._seen[self._prompt] = True
        wanted = self._sampling
        logits = logits - wanted.frequency_penalty * self._counts - np.float32(wanted.presence_penalty) * (self._counts > 0)
        if wanted.repetition_penalty != 1.0:
            again = np.flatnonzero(self._seen)
            values = logits[again]
            logits[again] = np.where(values > 0, values / wanted.repetition_penalty, values * wanted.repetition_penalty)
        return logits

    def _choose(self, logits: Row) -> int:
        if self._random is None:
            return int(logits.argmax())
        return draw(logits, self._sampling, self._random.random())


def numbers(logits: Row) -> Row:
    """In single precision; those of a broken model, which are none, as low as any."""
    logits = logits.astype(np.float32, copy=False)
    return logits if np.isfinite(logits.max()) else np.nan_to_num(logits, nan=-1e30, posinf=1e30, neginf=-1e30)


def _seeds(sampling: Sampling) -> list[int] | None:
    return None if sampling.seed is None else [sampling.seed % 2**64, sampling.choice]


def draw(logits: Row, sampling: Sampling, dice: float) -> int:
    """logits [vocab], dice in [0, 1) -> token: by temperature, then among what min_p, top_k and top_p leave."""
    with np.errstate(over="ignore"):  # a temperature near 0 makes the others' chance nothing, as it should
        scaled = (logits - logits.max()) / np.float32(max(sampling.temperature, 1e-9))
    tokens = None
    if sampling.min_p > 0:
        tokens = np.flatnonzero(scaled >= np.log(sampling.min_p))
        scaled = scaled[tokens]
    if 0 < sampling.top_k < len(scaled):
        tokens, scaled = _only(highest(scaled, sampling.top_k), tokens, scaled)
    if sampling.top_p < 1.0:
        tokens, scaled = _only(nucleus(scaled, sampling.top_p), tokens, scaled)
    place = _place(np.exp(scaled), dice)
    return place if tokens is None else int(tokens[place])


def _only(kept: Row, tokens: Row | None, scaled: Row) -> tuple[Row, Row]:
    return (kept if tokens is None else tokens[kept]), scaled[kept]


def highest(values: Row, most: int) -> Row:
    """Where the highest values are, the highest first."""
    if most >= len(values):
        return np.argsort(-values, kind="stable")
    near = None
    if most * BLOCK < len(values):
        # As many blocks have a value of at least `floor` as are wanted: nothing below it is among the highest.
        tops = np.maximum.reduceat(values, np.arange(0, len(values), BLOCK))
        floor = np.partition(tops, len(tops) - most)[len(tops) - most]
        near = np.flatnonzero(values >= floor)
        values = values[near]
    found = np.argpartition(values, len(values) - most)[len(values) - most :]
    found = found[np.lexsort((found, -values[found]))]
    return found if near is None else near[found]


def nucleus(scaled: Row, top_p: float) -> Row:
    """scaled [n], 0 at the highest -> the fewest places, one at least, that hold top_p of the chance together."""
    chances = np.exp(scaled)
    whole = chances.sum(dtype=np.float64)
    order = highest(scaled, FEW)
    held = np.cumsum(chances[order], dtype=np.float64) / whole
    if held[-1] >= top_p or len(order) == len(scaled):
        return order[: int(np.searchsorted(held, top_p)) + 1]
    depth = np.minimum(scaled * -STEPS, DEEPEST).astype(np.intp)
    held = np.cumsum(np.bincount(depth, weights=chances, minlength=DEEPEST + 1)) / whole
    border = min(int(np.searchsorted(held, top_p)), DEEPEST)
    above, edge = np.flatnonzero(depth < border), np.flatnonzero(depth == border)
    edge = edge[np.argsort(-scaled[edge], kind="stable")]
    reached = (held[border - 1] if border else 0.0) + np.cumsum(chances[edge], dtype=np.float64) / whole
    return np.concatenate([above, edge[: int(np.searchsorted(reached, top_p)) + 1]])


def _place(chances: Row, dice: float) -> int:
    """Where the dice fall among chances that need not sum to 1."""
    starts = np.arange(0, len(chances), BLOCK)
    heights = np.cumsum(np.add.reduceat(chances, starts), dtype=np.float64)
    point = min(dice * heights[-1], np.nextafter(heights[-1], 0))
    block = min(int(np.searchsorted(heights, point, side="right")), len(starts) - 1)
    inside = chances[starts[block] : starts[block] + BLOCK]
    before = heights[block - 1] if block else 0.0
    place = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), point - before, side="right"))
    # Rounding may leave the point behind the block's end: then it is the last that has a chance at all.
    return int(starts[block]) + min(place, int(np.flatnonzero(inside)[-1]))


def scored(logits: Row, token: int, most: int) -> Scored:
    """The token's log probability and those of the likeliest."""
    whole = log_sum(logits)
    top = highest(logits, most) if most else ()
    return Scored(token, float(logits[token]) - whole, tuple((int(each), float(logits[each]) - whole) for each in top))
