"""The engine: what it answers is what the model says, whoever else is being answered."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from serving_parts import checkpoint, exported, with_contract
from tokenizers import Tokenizer

from backends.serving.chooser import draw
from backends.serving.engine import Engine, PromptError
from backends.serving.sampling import Sampling
from backends.serving.text import TextStream

PROMPTS = [[random.Random(seed).randrange(6, 320) for _ in range(length)] for seed, length in enumerate([3, 40, 7, 300, 1, 90, 12])]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=3, max_len=400, threads=1)


def torch_answer(prompt: list[int], tokens: int) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint())
    made = model.generate(torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False)
    return made[0, len(prompt) :].tolist()


def test_greedy_tokens_are_those_of_transformers(engine: Engine) -> None:
    answers = engine.generate(PROMPTS, max_tokens=24)
    assert [answer.ids for answer in answers] == [torch_answer(prompt, 24) for prompt in PROMPTS]


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_company_in_the_batch_changes_no_answer(precision: str) -> None:
    engine = Engine(exported(precision), slots=3, max_len=400, threads=1)
    alone = [engine.generate([prompt], max_tokens=24)[0].ids for prompt in PROMPTS]
    assert [answer.ids for answer in engine.generate(PROMPTS, max_tokens=24)] == alone


def test_requests_that_join_and_leave_at_random_answer_as_if_alone(engine: Engine) -> None:
    alone = [engine.generate([prompt], max_tokens=20)[0].ids for prompt in PROMPTS]
    dice = random.Random(4)
    for _ in range(5):
        running = []
        for index in dice.sample(range(len(PROMPTS)), len(PROMPTS)):
            tokens = dice.randrange(1, 21)
            running.append((engine.submit(PROMPTS[index], Sampling(tokens)), alone[index][:tokens]))
            for _ in range(dice.randrange(4)):
                engine.step()
        cancelled = running.pop(dice.randrange(len(running)))[0]
        engine.cancel(cancelled)
        while any(generation.finish is None for generation, _ in running):
            engine.step()
        assert [generation.ids for generation, _ in running] == [expected for _, expected in running]
    assert engine.num_active == engine.num_waiting == 0


def test_a_cancelled_request_frees_its_slot_within_one_step(engine: Engine) -> None:
    running = [engine.submit(PROMPTS[0], Sampling(300)) for _ in range(3)]
    waiting = engine.submit(PROMPTS[2], Sampling(4))
    engine.step()
    assert (engine.num_active, engine.num_waiting) == (3, 1)
    engine.cancel(running[1])
    engine.step()
    assert running[1].finish == "cancelled"
    assert waiting.ids, "the one who waited has joined in the same step"
    for generation in running:
        engine.cancel(generation)
    while not waiting.finish:
        engine.step()
    assert engine.num_active == 0


def test_an_answer_that_begins_is_said_before_the_next_tokens_are_computed(engine: Engine) -> None:
    asked = engine.submit(PROMPTS[0], Sampling(4))
    step = engine.halves()
    assert (next(step), len(asked.ids)) == ([asked], 1)
    assert (next(step), len(asked.ids), next(step, None)) == ([asked], 2, None)
    while not asked.finish:
        engine.step()


def test_a_long_prompt_does_not_stall_those_who_are_being_answered(engine: Engine) -> None:
    answering = engine.submit(PROMPTS[0], Sampling(100))
    engine.step()
    long = engine.submit([8, *PROMPTS[3]], Sampling(1))
    before = len(answering.ids)
    engine.step()
    assert len(answering.ids) == before + 1
    assert not long.ids, "301 tokens take two chunks"
    engine.cancel(answering)
    while not long.finish:
        engine.step()


def test_log_probabilities_are_those_of_torch(engine: Engine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint())
    sequences = [PROMPTS[3], PROMPTS[1], [7]]
    for sequence, found in zip(sequences, engine.logprobs(sequences), strict=True):
        with torch.no_grad():
            whole = torch.log_softmax(model(torch.tensor([sequence])).logits[0].double(), -1)
        expected = [whole[at, token].item() for at, token in enumerate(sequence[1:])]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_stop_token_ends_the_answer_and_counts(engine: Engine, tmp_path: Path) -> None:
    ids = engine.generate([PROMPTS[1]], max_tokens=10)[0].ids
    stopping = Engine(with_contract(tmp_path / "a", exported(), stop_ids=[ids[5]]), slots=1, max_len=100, threads=1)
    answer = stopping.generate([PROMPTS[1]], max_tokens=10)[0]
    assert (answer.ids, answer.finish) == (ids[: ids.index(ids[5]) + 1], "stop")


def test_a_stop_text_across_tokens_ends_the_answer_and_is_not_in_it(engine: Engine) -> None:
    whole = engine.generate([PROMPTS[1]], max_tokens=20)[0].text
    pieces = [engine.tokenizer.decode([token]) for token in engine.generate([PROMPTS[1]], max_tokens=20)[0].ids]
    stop = pieces[6][-1] + pieces[7] + pieces[8][:1]
    answer = engine.generate([PROMPTS[1]], max_tokens=20, stop=(stop,))[0]
    assert (answer.text, answer.finish) == (whole[: whole.index(stop)], "stop")


def test_what_it_cannot_take_is_refused_with_the_reason(engine: Engine) -> None:
    with pytest.raises(PromptError, match="400 tokens and the model takes 400"):
        engine.submit([7] * 400, Sampling(1))
    with pytest.raises(PromptError, match="empty"):
        engine.submit([], Sampling(1))
    with pytest.raises(PromptError, match="vocabulary"):
        engine.submit([320], Sampling(1))


def test_an_answer_that_fills_the_memory_ends_with_length(engine: Engine) -> None:
    answer = engine.generate([[7] * 395], max_tokens=50)[0]
    assert (len(answer.ids), answer.finish) == (5, "length")


def test_the_same_seed_draws_the_same_tokens_in_any_company(engine: Engine) -> None:
    alone = engine.generate([PROMPTS[0]], max_tokens=12, temperature=1.5, top_p=0.95, seed=3)[0].ids
    together = engine.generate([PROMPTS[2], PROMPTS[0], PROMPTS[1]], max_tokens=12, temperature=1.5, top_p=0.95, seed=3)
    other = engine.generate([PROMPTS[0]], max_tokens=12, temperature=1.5, top_p=0.95, seed=4)[0].ids
    assert together[1].ids == alone
    assert other != alone


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_what_is_drawn_is_in_the_nucleus(logits: list[float], top_p: float, seed: int) -> None:
    chances = np.exp(np.array(logits) - max(logits))
    chances /= chances.sum()
    token = draw(np.array(logits, np.float32), Sampling(1, temperature=1.0, top_p=top_p), random.Random(seed).random())
    likelier = chances[chances > chances[token] * (1 + 1e-5)].sum()
    assert likelier < top_p + 1e-5


@given(st.text(max_size=30), st.lists(st.text("abé€", min_size=1, max_size=3), max_size=2))
@settings(max_examples=100, deadline=None)
def test_streamed_text_is_the_whole_text_up_to_its_first_stop_and_never_takes_back(text: str, stops: list[str]) -> None:
    # generation ends with the first stop text that is whole, which may begin after the start of a longer one
    assume(not any(one != other and one in other for one in stops for other in stops))
    tokenizer = Tokenizer.from_file(str(checkpoint() / "tokenizer.json"))
    stream, seen = TextStream(tokenizer, tuple(stops)), ""
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        stream.push(token)
        assert stream.text.startswith(seen)
        assert "\ufffd" not in stream.text or "\ufffd" in text
        seen = stream.text
        if stream.stopped:
            break
    stream.finish()
    ends = [text.index(stop) for stop in stops if stop in text]
    assert stream.text == text[: min(ends, default=len(text))].removesuffix("\ufffd" * (len(text) - len(text.rstrip("\ufffd"))))
