"""Sampling: what a request asks for is what is drawn, whoever else is in the batch."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_parts import exported

from backends.serving.bodies import Request
from backends.serving.chooser import Chooser, draw, highest, nucleus
from backends.serving.engine import Engine
from backends.serving.grammar import Grammars
from backends.serving.sampling import Sampling

VOCAB = 320
PROMPTS = [[random.Random(seed).randrange(6, VOCAB) for _ in range(length)] for seed, length in enumerate([3, 40, 7, 300, 1, 90])]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=3, max_len=400, threads=1)


WISHES: list[dict[str, Any]] = [
    {"temperature": 1.3, "seed": 1},
    {"temperature": 0.8, "top_p": 0.7, "seed": 2},
    {"temperature": 2.0, "top_k": 7, "seed": 3},
    {"temperature": 1.5, "min_p": 0.02, "seed": 4, "repetition_penalty": 1.3},
    {"temperature": 1.0, "presence_penalty": 1.5, "frequency_penalty": 0.4, "seed": 5, "logprobs": 2},
    {"frequency_penalty": 1.0, "logit_bias": ((7, 5.0), (8, -100.0))},
    {},
]


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_the_same_request_draws_the_same_tokens_in_any_company(precision: str, data: st.DataObject) -> None:
    engine = engine_of(precision)
    load = data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=6))
    running = []
    for prompt, wish, steps in load:
        running.append((engine.submit(PROMPTS[prompt], Sampling(10, **WISHES[wish])), alone(precision, prompt, wish)))
        for _ in range(steps):
            engine.step()
    while engine.busy:
        engine.step()
    assert [generation.ids for generation, _ in running] == [expected for _, expected in running]


ENGINES: dict[str, Engine] = {}
ALONE: dict[tuple[str, int, int], list[int]] = {}


def engine_of(precision: str) -> Engine:
    if precision not in ENGINES:
        ENGINES[precision] = Engine(exported(precision), slots=3, max_len=400, threads=1)
    return ENGINES[precision]


def alone(precision: str, prompt: int, wish: int) -> list[int]:
    """Answered by an engine that is asked nothing else at the time."""
    if (precision, prompt, wish) not in ALONE:
        single = ENGINES.setdefault(f"{precision} alone", Engine(exported(precision), slots=1, max_len=400, threads=1))
        ALONE[precision, prompt, wish] = single.generate([PROMPTS[prompt]], max_tokens=10, **WISHES[wish])[0].ids
    return ALONE[precision, prompt, wish]


LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=600).map(lambda values: np.array(values, np.float32))


def chances_of(logits: "np.ndarray[Any, Any]", temperature: float) -> "np.ndarray[Any, Any]":
    chances = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return np.asarray(chances / chances.sum())


@given(LOGITS, st.floats(0.1, 2), st.floats(0, 1), st.integers(0, 20), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_what_is_drawn_is_among_what_top_p_top_k_and_min_p_leave(
    logits: "np.ndarray[Any, Any]", temperature: float, top_p: float, top_k: int, min_p: float, dice: float
) -> None:
    wanted = Sampling(1, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    token = draw(logits, wanted, dice)
    chances = chances_of(logits, temperature)
    likelier = chances > chances[token] * (1 + 1e-4)
    assert chances[token] >= min_p * chances.max() * (1 - 1e-4)
    assert top_k == 0 or likelier.sum() < top_k
    left = np.sort(chances)[::-1][: top_k or None]
    left = left[left >= min_p * left[0] * (1 - 1e-4)]
    assert likelier.sum() == 0 or chances[likelier].sum() <= top_p * left.sum() + 1e-3


@given(LOGITS, st.floats(0.3, 2))
@settings(max_examples=15, deadline=None)
def test_tokens_are_drawn_as_often_as_their_chance_says(logits: "np.ndarray[Any, Any]", temperature: float) -> None:
    # Dice at even distances: each token's share of them is its chance, to one part of their number.
    dice = (np.arange(1000) + 0.5) / 1000
    drawn = np.bincount([draw(logits, Sampling(1, temperature=temperature), float(each)) for each in dice], minlength=len(logits))
    np.testing.assert_allclose(drawn / 1000, chances_of(logits, temperature), atol=1.5 / 1000)


@given(LOGITS, st.integers(1, 600), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_the_highest_are_those_that_sorting_puts_first(logits: "np.ndarray[Any, Any]", most: int, times: int) -> None:
    logits = np.tile(logits, times)
    np.testing.assert_array_equal(logits[highest(logits, most)], np.sort(logits)[::-1][:most])


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.9, 0.999])
def test_the_nucleus_of_a_large_vocabulary_is_the_shortest_list_that_holds_the_chance(spread: float, top_p: float) -> None:
    logits = (np.random.default_rng(1).standard_normal(20_000) * spread).astype(np.float32)
    chances = chances_of(logits, 1.0)
    order = np.argsort(-chances, kind="stable")
    expected = order[: int(np.searchsorted(np.cumsum(chances[order]), top_p)) + 1]
    found = nucleus(logits - logits.max(), top_p)
    # Sums in another order and precision may move the border by a token or two of equal chance.
    assert len(set(found.tolist()) ^ set(expected.tolist())) <= 1 + len(expected) // 2000


def chosen(sampling: Sampling, logits: list[list[float]], prompt: list[int]) -> tuple[list[int], Chooser]:
    chooser = Chooser(sampling, prompt)
    return [chooser.next(np.array(row, np.float32)) for row in logits], chooser


def test_penalties_push_down_what_the_answer_has_and_repetition_also_what_the_prompt_has() -> None:
    row = [[1.0, 0.9, 0.5]] * 3
    assert chosen(Sampling(3), row, [0])[0] == [0, 0, 0]
    assert chosen(Sampling(3, presence_penalty=0.2), row, [0])[0] == [0, 1, 0]
    assert chosen(Sampling(3, frequency_penalty=0.3), row, [0])[0] == [0, 1, 0]
    assert chosen(Sampling(3, repetition_penalty=3.0), row, [0])[0] == [1, 2, 0]
    assert chosen(Sampling(1, repetition_penalty=3.0), [[-1.0, -1.5, -9]], [0])[0] == [1], "what is below 0 goes further down"


def test_bias_forbids_and_enforces_and_leaves_the_reported_log_probabilities_alone() -> None:
    tokens, chooser = chosen(Sampling(1, logit_bias=((0, -100.0), (2, 5.0)), logprobs=2), [[2.0, 1.0, 0.0]], [0])
    assert tokens == [2]
    expected = np.log(chances_of(np.array([2.0, 1.0, 0.0]), 1.0))
    assert chooser.logprobs[0].token == 2
    assert chooser.logprobs[0].logprob == pytest.approx(expected[2])
    assert chooser.logprobs[0].top == ((0, pytest.approx(expected[0])), (1, pytest.approx(expected[1])))


def test_choices_of_one_request_draw_differently_and_each_the_same_again(engine: Engine) -> None:
    def ask() -> list[list[int]]:
        waiting = [engine.submit(PROMPTS[0], Sampling(12, temperature=1.5, seed=3, choice=choice)) for choice in range(3)]
        while engine.busy:
            engine.step()
        return [generation.ids for generation in waiting]

    first = ask()
    assert len({tuple(ids) for ids in first}) == 3
    assert ask() == first


def test_logits_of_a_broken_model_or_a_temperature_of_almost_nothing_still_give_a_token() -> None:
    wide: dict[str, Any] = {"temperature": 1.0, "top_p": 0.5, "top_k": 2, "min_p": 0.1, "logprobs": 2, "prompt_logprobs": 2}
    for row in ([np.nan] * 1000, [1.0, np.nan] * 500, [np.inf, np.inf, 0.0] * 300, [-np.inf, 0.0, -np.inf] * 300, [-np.inf] * 9):
        for wanted in (Sampling(1, temperature=1.0), Sampling(1, **wide), Sampling(1, logprobs=3)):
            chooser = Chooser(wanted, [0])
            assert 0 <= chooser.next(np.array(row, np.float32)) < len(row)
            chooser.score(np.array([row], np.float32), np.array([1]))
    assert Chooser(Sampling(1, temperature=1e-30), [0]).next(np.array([1, 3, 2], np.float32)) == 1


def test_no_number_that_a_body_may_hold_makes_a_token_possible_that_its_grammar_forbids(engine: Engine) -> None:
    borders = [{field: border} for field in Request.model_fields for border in borders_of(field)]
    assert {"repetition_penalty": 10.0} in borders
    grammars = Grammars(engine.tokenizer.to_str(), VOCAB, engine.contract.stop_ids)
    wishes: dict[str, Any] = {"temperature": 1.0, "seed": 1, "grammar": grammars.json_schema({"type": "object"})}
    for said in (60.0, -60.0):  # of the tokens of the prompt
        logits = np.array([said] * 300 + [1.0] * (VOCAB - 300), np.float32)
        for first, second in itertools.product(borders, borders):
            chooser = Chooser(Sampling(1, **wishes | first | second), list(range(300)))
            chooser.next(logits)
            assert not chooser.fault, (first, second)


def borders_of(field: str) -> list[float]:
    """The lowest and the highest number that a body may have there."""
    found = []
    for border in Request.model_fields[field].metadata:
        found += [border.ge] if isinstance(border, Ge) else [border.le] if isinstance(border, Le) else []
        found += [np.nextafter(border.gt, np.inf)] if isinstance(border, Gt) else []
    return found if field in Sampling.__dataclass_fields__ else []


def test_a_prompt_is_scored_as_the_engine_scores_a_sequence(engine: Engine) -> None:
    for prompt in (PROMPTS[3], PROMPTS[1], PROMPTS[4]):
        reading = engine.submit(prompt, Sampling(0, prompt_logprobs=3))
        while engine.busy:
            engine.step()
        found = reading.chooser.prompt_logprobs
        assert [item.token for item in found] == prompt
        assert found[0].logprob is None
        assert [item.logprob for item in found[1:]] == engine.logprobs([prompt])[0].tolist()
        assert all(len(item.top) == 3 and item.top[0][1] >= (item.logprob or 0.0) for item in found[1:])
        assert (reading.ids, reading.finish) == ([], "length")
