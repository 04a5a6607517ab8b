"""model: how rows lie in memory changes nothing that is learned; which rows make a step is told by the spec alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_parts import write_base
from transformers import AutoModelForCausalLM

from backends.work.best_fit import best_fit
from backends.work.packing import by_length, packed, steps_of
from backends.work.token_rows import Row
from backends.work.train_hf import Machine, summed_loss, targets_in


def some_rows(count: int = 12) -> list[Row]:
    dice = np.random.default_rng(3)
    rows = []
    for length in dice.integers(4, 40, count):
        loss = np.ones(length, dtype=np.uint8)
        loss[: length // 2] = 0
        rows.append(Row(dice.integers(0, 300, length).astype(np.int32), loss))
    return rows


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(write_base(tmp_path_factory.mktemp("base"), layers=2)).eval()


@torch.no_grad()
def test_a_packed_row_has_the_loss_it_has_alone(network: torch.nn.Module) -> None:
    machine, rows = Machine.here(), some_rows()
    alone = [sum(summed_loss(network, batch, machine).item() for batch in by_length([row], 4096)) for row in rows]
    sequences = [[rows[number] for number in sequence] for sequence in best_fit([len(row) for row in rows], 96)]
    assert max(map(len, sequences)) > 2
    together = sum(summed_loss(network, batch, machine).item() for batch in packed(sequences, 4096))
    sorted_rows = sum(summed_loss(network, batch, machine).item() for batch in by_length(rows, 200))
    assert together == pytest.approx(sum(alone), rel=1e-5)
    assert sorted_rows == pytest.approx(sum(alone), rel=1e-5)


@torch.no_grad()
def test_rows_in_one_sequence_do_not_see_each_other(network: torch.nn.Module) -> None:
    first, second, other = some_rows(3)
    scores = []
    for neighbour in (first, Row(first.tokens[::-1].copy(), first.loss), Row(np.full_like(first.tokens, 9), first.loss)):
        (batch,) = packed([[neighbour, second, other]], 4096)
        out = network(input_ids=batch.tokens, position_ids=batch.positions, use_cache=False).logits
        scores.append(out[0, len(first) : len(first) + len(second)])
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    assert torch.allclose(scores[0], scores[2], atol=1e-5)


def test_the_last_token_of_a_row_is_not_taught_the_next_rows_first() -> None:
    first, second = some_rows(2)
    (batch,) = packed([[Row(first.tokens, np.ones_like(first.loss)), Row(second.tokens, np.ones_like(second.loss))]], 4096)
    assert batch.targets[0, len(first) - 1] == -100
    assert batch.positions[0].tolist() == [*range(len(first)), *range(len(second))]


def test_batches_hold_every_row_within_their_limit_and_little_padding() -> None:
    rows = some_rows(300)
    batches = list(by_length(rows, 1024))
    assert sum(int((batch.targets != -100).sum()) for batch in batches) == targets_in([rows])
    assert all(batch.tokens.numel() <= 1024 for batch in batches)
    assert sum(batch.tokens.numel() for batch in batches) <= 1.12 * sum(map(len, rows))


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
    st.floats(0.1, 4),
    st.integers(64, 400),
    st.integers(0, 9),
)
def test_each_row_is_seen_as_often_as_epochs_says(lengths: list[int], epochs: float, batch_tokens: int, seed: int) -> None:
    steps = steps_of(lengths, epochs, batch_tokens, seed)
    seen = Counter(sequence for step in steps for sequence in step)
    assert all(steps)
    assert set(seen.values()) <= {int(epochs), int(epochs) + 1}
    assert int(epochs) == 0 or len(seen) == len(lengths)
    assert steps == steps_of(lengths, epochs, batch_tokens, seed)


def test_steps_hold_about_batch_tokens_and_the_last_is_no_remainder() -> None:
    sizes = [sum(30 for _ in step) for step in steps_of([30] * 100, 3, 1000, seed=7)]
    assert len(sizes) == 9
    assert max(sizes) - min(sizes) <= 30


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    one, two = (steps_of([10] * 20, 2, 100, seed) for seed in (1, 2))
    assert one != two
    stream = [sequence for step in one for sequence in step]
    assert stream[:20] != stream[20:]
