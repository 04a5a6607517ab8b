"""The engine under load: whoever else is served, an answer is the one that its request gets alone."""

import asyncio
import contextlib
import gc
import random
import resource
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_parts import exported

from backends.serving.access import Turnstile
from backends.serving.choices import Choice
from backends.serving.decoder import Decoder
from backends.serving.drafts import Drafts
from backends.serving.engine import Engine, Generation
from backends.serving.fair_queue import FairQueue
from backends.serving.guards import Guards
from backends.serving.metrics import _tokens_of
from backends.serving.prefix import BLOCK
from backends.serving.pump import Ticket
from backends.serving.record import Record
from backends.serving.replies import ApiError, Form
from backends.serving.room import Room
from backends.serving.sampling import Sampling
from backends.serving.stream import Stream
from llmspec.errors import PlaceError
from llmspec.spec.endpoint import Limits

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
    made._guess = lambda item: []  # type: ignore[method-assign]
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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_prompt_may_be_cut_anywhere_and_read_beside_any_other(precision: str) -> None:
    decoder = Decoder(exported(precision), slots=4, max_len=300, threads=1)

    def read(num: int, cuts: list[int]) -> bytes:
        prompt = words(3, num)
        for start, end in zip([0, *cuts], [*cuts, num], strict=True):
            logits = decoder.read(1, prompt, start, end)
        return logits.tobytes() + decoder.get(1, 0, num).tobytes()

    for num in (1, 2, 33, 65, 129, 200):
        whole = read(num, [])
        assert {read(num, cuts) for cuts in ([], [2], [num // 4 * 2, num // 4 * 2 + 2]) if num > 60 or not cuts} == {whole}
        beside = decoder.read_together(0, [words(4, 7), words(3, num), words(5, 140)])[1].tobytes()
        assert beside + decoder.get(1, 0, num).tobytes() == whole


def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_there() -> None:
    serving = Engine(exported(), slots=2, max_len=400, threads=1)
    system = words(1, 200)
    for turn, reused in enumerate([0, 192, 192]):
        generation = serving.submit(system + words(turn + 7, 40), Sampling(3))
        while not generation.finish:
            serving.step()
        assert generation.reused == reused
    assert (serving.stats.prefix_tokens_asked, serving.stats.prefix_tokens_hit) == (3 * 240, 2 * 192)


@pytest.mark.parametrize(("cached", "asked"), [(True, 7 * 10), (False, 0)])
def test_prompts_that_are_read_together_are_looked_up_too(cached: bool, asked: int) -> None:
    serving = Engine(exported(), slots=4, max_len=400, threads=1, prefix_cache=cached)
    serving.generate([words(seed, 10) for seed in range(7)], 3)
    assert (serving.stats.prefix_tokens_asked, serving.stats.prefix_tokens_hit) == (asked, 0)


def test_blocks_that_nobody_needed_for_long_make_room() -> None:
    each = Engine(exported(), slots=1, max_len=400, threads=1).decoder.token_bytes
    serving = Engine(exported(), slots=1, max_len=400, threads=1, memory=each * (400 + 6 * BLOCK))
    often, other, third = words(1, 70), words(2, 70), words(3, 100)
    for prompt in (often, other, often, third):
        serving.generate([prompt], 1)
    assert serving.stats.kv_tokens_used == 6 * BLOCK
    assert serving.prefix.hit == 64
    serving.generate([often, other], 1)
    assert serving.prefix.hit == 64 + 64 + 32, "what was asked again is still there; of the other the end is gone"


def test_clients_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for client, item in [("ana", "a1"), ("ana", "a2"), ("ana", "a3"), ("ben", "b1"), ("eve", "e1"), ("ben", "b2")]:
        queue.push(client, item)
    queue.remove("a2")
    assert (len(queue), queue.peek()) == (5, "a1")
    assert [queue.pop() for _ in range(5)] == ["a1", "b1", "e1", "a3", "b2"]
    assert queue.peek() is None


def test_who_comes_now_is_told_who_goes_before_its_own_turn() -> None:
    dice = random.Random(3)
    for _ in range(200):
        queue: FairQueue[str] = FairQueue()
        for number in range(dice.randrange(12)):
            queue.push(dice.choice("abc"), f"item {number}")
        for _ in range(dice.randrange(len(queue) + 1)):
            queue.pop()
        client, number = dice.choice("abcd"), dice.randint(1, 4)
        ahead = queue.ahead(client, number)
        for mine in range(number):
            queue.push(client, f"mine {mine}")
        before = iter(queue.pop, f"mine {number - 1}")
        assert sorted(item for item in before if not item.startswith("mine")) == sorted(ahead)


def test_the_queue_keeps_places_for_those_who_hold_few() -> None:
    turnstile = Turnstile(Limits())

    def admitted_of_a_hundred(client: str) -> int:
        for number in range(100):
            try:
                turnstile.admit(1, client=client)
            except ApiError:
                return number
        return 100

    admitted = {client: admitted_of_a_hundred(client) for client in "abcdef"}
    assert admitted == {"a": 80, "b": 8, "c": 4, "d": 2, "e": 1, "f": 1}
    for client, number in admitted.items():
        turnstile.leave(number, client)
    assert turnstile.inside == 0
    turnstile.admit(80, client="a list")
    with pytest.raises(ApiError, match="so is the queue"):
        turnstile.admit(9, client="b")
    turnstile.admit(8, client="b")
    alone = Turnstile(Limits(concurrency=1, queue=0))
    alone.admit(1, client="a")
    with pytest.raises(ApiError, match="so is the queue"):
        alone.admit(1, client="b")


def test_one_who_asks_much_does_not_make_another_wait_for_all_of_it() -> None:
    serving = Engine(exported(), slots=1, max_len=400, threads=1)
    many = [serving.submit(words(seed, 5), Sampling(3), "greedy") for seed in range(6)]
    one = serving.submit(words(9, 5), Sampling(3), "modest")
    while not one.finish:
        serving.step()
    assert sum(1 for item in many if item.finish) == 1
    assert serving.expected_wait() > 0
    for item in many:
        serving.cancel(item)
    serving.step()
    assert (serving.num_active, serving.num_waiting, serving.expected_wait()) == (0, 0, 0)


def test_who_would_wait_longer_than_an_answer_may_take_is_told_when_to_come_back() -> None:
    turnstile = Turnstile(Limits(timeout="10s", concurrency=1, queue=1))  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="takes 14 s now") as refused:
        turnstile.admit(1, wait=14.0)
    assert (refused.value.status, refused.value.retry_after) == (429, 4)
    turnstile.admit(2, wait=9.0)
    with pytest.raises(ApiError, match="so is the queue") as refused:
        turnstile.admit(1, wait=3.2)
    assert refused.value.retry_after == 4


def test_who_did_not_get_a_turn_in_time_is_told_so() -> None:
    serving = Engine(exported(), slots=1, max_len=400, threads=1)
    first, second = (serving.submit(words(seed, 5), Sampling(9)) for seed in range(2))
    serving.step()
    serving.cancel(first, "length")
    serving.cancel(second, "length")
    serving.step()
    guard = Guards([], None).listener()
    faults = [Choice(0, Ticket(item, asyncio.Event()), guard, lambda: None).fault() for item in (first, second)]
    assert faults[0] is None, "it ends with what it has"
    assert faults[1]
    assert faults[1].status == 429


def test_a_stream_whose_turn_did_not_come_is_refused_by_its_status() -> None:
    serving = Engine(exported(), slots=1, max_len=400, threads=1)
    first, second, third = (serving.submit(words(seed, 5), Sampling(9)) for seed in range(3))
    serving.step()
    serving.cancel(first, "length")
    serving.cancel(second, "length")
    serving.cancel(third)
    serving.step()

    async def refused(item: Generation) -> int:
        news = asyncio.Event()
        choice = Choice(0, Ticket(item, news), Guards([], None).listener(), lambda: None)
        stream = Stream([choice], news, Form(True, "id", 0, "bot"), lambda _: contextlib.nullcontext(), 1)
        return fault.status if (fault := await stream._refused()) else 200

    assert [asyncio.run(refused(item)) for item in (first, second, third)] == [200, 429, 499]
    record = Record("/v1/chat/completions", status=200, made=[first, second])
    assert (record.reasons, _tokens_of(record)) == (["length"], (5, 2)), "one that was refused is neither a success nor read"


def test_one_whose_turn_has_come_is_said_before_all_of_its_prompt_is_read() -> None:
    serving = Engine(exported(), slots=2, max_len=900, threads=1)
    serving.generate([words(1, 5)], 9)
    busy, long = serving.submit(words(2, 5), Sampling(200)), serving.submit(words(3, 800), Sampling(2))
    while long.joined is None:
        news = serving.step()
    assert (long in news, long.answering, bool(busy.ids)) == (True, False, True)


def test_the_first_who_come_in_numbers_are_told_how_long_they_would_wait() -> None:
    serving = Engine(exported(), slots=1, max_len=400, threads=1)
    serving.warm_up()
    assert serving.expected_wait() == 0
    for number in range(30):
        serving.submit(words(number, 5), Sampling(100))
    trial = serving.expected_wait()
    assert trial > 30 * 100 * 1e-5, "by the length of an answer, not by that of the trial"
    for item in serving._waiting.items():
        item.sampling = replace(item.sampling, max_tokens=10)
    assert serving.expected_wait() == pytest.approx(trial / 10), "where all are short, none is taken to be long"


def test_memory_is_shared_out_by_the_spec() -> None:
    assert Room.of(100, 8, 50, budget=1000, free=5000, prefix=True) == Room(8, 200)
    assert Room.of(100, 8, 50, budget=350, free=5000, prefix=True) == Room(3, 50)
    assert Room.of(100, 8, 50, budget=350, free=5000, prefix=False) == Room(3, 0)
    assert Room.of(100, 8, 50, budget=None, free=400, prefix=True) == Room(3, 0)
    with pytest.raises(PlaceError, match=r"one request of 50 tokens .* raise endpoint.limits.memory or lower"):
        Room.of(100, 8, 50, budget=99, free=5000, prefix=True)
    with pytest.raises(PlaceError, match="300 bytes are free beside the model: lower it"):
        Room.of(100, 8, 50, budget=400, free=300, prefix=True)


def test_what_was_said_before_is_guessed_and_bad_guesses_are_given_up() -> None:
    drafts = Drafts([1, 2, 3, 4, 5, 6, 9, 2, 3])
    assert drafts.guess(3) == [4, 5, 6]
    assert drafts.guess(1) == [4]
    drafts.add(7)
    assert drafts.guess(3) == []
    for token in (2, 3):
        drafts.add(token)
    assert drafts.guess(2) == [7, 2], "the last time counts"
    assert Drafts([1, 8, 9, 8, 9]).guess(4) == [8, 9, 8, 9], "a circle goes on"
    for _ in range(2):
        drafts.judge(0)
    assert drafts.guess(3) == []


def forgetful(folder: Path) -> Path:
    """An artifact that sees its last token only, and so comes round to what it said before."""
    import onnx
    from onnx import numpy_helper

    shutil.copytree(exported(), folder)
    model = onnx.load(folder / "model.onnx")
    mixing = [item for item in model.graph.initializer if "o_proj" in item.name]
    assert len(mixing) == 2
    for item in mixing:
        item.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(item)), item.name))
    (folder / "model.onnx.data").unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    return folder


def test_guesses_that_come_true_save_steps_and_change_nothing(tmp_path: Path) -> None:
    serving = Engine(forgetful(tmp_path / "a"), slots=2, max_len=400, threads=1)
    prompts = [words(seed, 9) for seed in range(4)]
    expected = serving.generate(prompts, 100)
    before = serving.stats
    found = [serving.generate([prompt], 100)[0] for prompt in prompts]
    assert [answer.ids for answer in found] == [answer.ids for answer in expected]
    accepted = serving.stats.tokens_accepted - before.tokens_accepted
    assert accepted > 250
    assert serving.stats.steps - before.steps == 4 * 99 - accepted


def test_the_scores_of_a_prompt_are_those_of_its_logits_however_it_is_cut() -> None:
    serving, prompt = engine("fp32"), words(1, 300)
    generation = serving.submit(prompt, Sampling(0, prompt_logprobs=0))
    while not generation.finish:
        serving.step()
    assert (generation.ids, generation.finish) == ([], "length")
    found = [each.logprob for each in generation.chooser.prompt_logprobs[1:]]
    np.testing.assert_allclose(np.array(found, float), serving.logprobs([prompt])[0], atol=1e-5)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_ten_thousand_requests_leave_nothing_behind() -> None:
    budget = 40 * engine("fp32").decoder.token_bytes
    serving = Engine(exported(), slots=16, max_len=40, threads=1, memory=20 * budget)
    kept, dice = [], random.Random(5)
    for turn in range(10_000):
        if turn % 2_500 == 0:
            gc.collect()
            kept.append(resident())
        asked = serving.submit(words(dice.randrange(10**6), dice.choice([1, 3, 34])), Sampling(1), f"client {turn}")
        if turn % 5 == 0:
            serving.cancel(asked)
        if serving.num_waiting == 16:
            serving.step()
    while serving.busy:
        serving.step()
    assert serving.stats.kv_tokens_used == serving.prefix.most_tokens, "the prefix cache is full, and no slot is lost"
    assert resident() - kept[2] < 4 * 2**20, "the second half took no memory"


@pytest.mark.gpu
@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_device_gives_the_same_answers(precision: str) -> None:
    serving = engine(precision)
    assert serving.decoder.device == "cuda"
    prompts = [words(seed, length) for seed, length in enumerate([3, 40, 150, 7, 90, 12])]
    alone = [serving.generate([prompt], 20)[0].ids for prompt in prompts]
    assert [answer.ids for answer in serving.generate(prompts, 20)] == alone
