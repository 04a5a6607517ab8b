"""The engine under load: whoever else is served, an answer is the one that its request gets alone."""

import random
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_parts import exported

from backends.serving.engine import Engine, Generation
from backends.serving.sampling import Sampling

PRECISIONS = ["fp32", "int8", "int4"]


def words(seed: int, num: int) -> list[int]:
    dice = random.Random(seed)
    return [dice.randrange(6, 320) for _ in range(num)]


@cache
def engine(precision: str) -> Engine:
    return Engine(exported(precision), slots=4, max_len=400, threads=1)


@cache
def fresh(precision: str) -> Engine:
    """For the answer alone: it remembers nothing of what it was asked before, and guesses nothing."""
    made = Engine(exported(precision), slots=1, max_len=400, threads=1, prefix_cache=False)
    made.decoder.quantized = True
    return made


@dataclass(frozen=True)
class Asked:
    """One request of a drawn load."""

    shared: int
    """Tokens that its prompt shares with the others'."""
    own: int
    seed: int
    tokens: int
    temperature: float
    steps: int
    """Steps before the next one comes."""
    left: int | None
    """Steps after which its client leaves."""
    client: str

    @property
    def prompt(self) -> list[int]:
        return words(0, self.shared) + words(self.seed + 1, self.own)

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.tokens, temperature=self.temperature, seed=self.seed)


@cache
def alone(precision: str, asked: Asked) -> list[int]:
    (answer,) = fresh(precision).generate([asked.prompt], asked.tokens, temperature=asked.temperature, seed=asked.seed)
    return answer.ids


requests = st.builds(
    Asked,
    shared=st.sampled_from([0, 0, 31, 32, 33, 64, 129, 200]),
    own=st.integers(1, 150),
    seed=st.integers(0, 5),
    tokens=st.integers(1, 24),
    temperature=st.sampled_from([0.0, 0.0, 1.0]),
    steps=st.integers(0, 4),
    left=st.sampled_from([None, None, None, 0, 3, 9]),
    client=st.sampled_from(["ana", "ben"]),
)


@pytest.mark.parametrize("precision", PRECISIONS)
@given(load=st.lists(requests, min_size=1, max_size=9), pieces=st.lists(st.integers(8, 128), min_size=1, max_size=3))
@settings(max_examples=25)
def test_any_company_changes_no_answer(precision: str, load: list[Asked], pieces: list[int]) -> None:
    serving, steps = engine(precision), 0
    running: list[tuple[Generation, Asked, int]] = []
    cuts = iter(2 * pieces[step % len(pieces)] for step in range(10_000))

    def step() -> None:
        nonlocal steps
        serving.step()
        steps += 1
        for generation, asked, since in running:
            if asked.left is not None and steps - since == asked.left:
                serving.cancel(generation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving._tempo, "tokens", lambda most, *_: min(most, next(cuts)))  # cut anywhere, as any load would
        for asked in load:
            running.append((serving.submit(asked.prompt, asked.sampling, asked.client), asked, steps))
            for _ in range(asked.steps):
                step()
        while serving.busy:
            step()
    for generation, asked, _ in running:
        expected = alone(precision, asked)
        assert generation.ids == (expected if generation.finish != "cancelled" else expected[: len(generation.ids)])
        assert generation.finish == "cancelled" or len(generation.ids) == asked.tokens
    assert serving.stats.running == serving.stats.waiting == 0
