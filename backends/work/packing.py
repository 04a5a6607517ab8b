"""Packing: which sequences share an optimizer step, and how a step lies in memory."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch

from backends.work.token_rows import Row

IGNORED = -100
"""A target that has no loss."""

WASTE, SMALLEST = 1.1, 256
"""A batch is closed when padding would cost a tenth of it, but not below so many tokens: each pass has a cost of its own."""


def steps_of(lengths: Sequence[int], epochs: float, batch_tokens: int, seed: int) -> list[list[int]]:
    """Sequence numbers by optimizer step. Each epoch is an order of its own, the last one cut where `epochs` says; all
    steps hold about the same number of tokens, so that the last is no noisy remainder."""
    stream: list[int] = []
    for epoch in range(ceil(epochs)):
        order = list(range(len(lengths)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        stream += order[: ceil(len(order) * min(1.0, epochs - epoch))]
    total = sum(lengths[sequence] for sequence in stream)
    count = min(len(stream), max(1, round(total / batch_tokens)))
    steps: list[list[int]] = [[] for _ in range(count)]
    passed = 0
    for sequence in stream:
        middle = passed + lengths[sequence] / 2
        steps[min(count - 1, int(middle * count / total))].append(sequence)
        passed += lengths[sequence]
    return [step for step in steps if step]


@dataclass(frozen=True)
class Batch:
    """What goes through the model at once: [rows or sequences, tokens]."""

    tokens: torch.Tensor
    targets: torch.Tensor
    """At each token the next one of its row, or IGNORED."""
    positions: torch.Tensor
    """They start again at 0 with each row: attention sees no further back than that."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(field.to(device, non_blocking=True) for field in (self.tokens, self.targets, self.positions)))


def _batch(lines: Sequence[Sequence[Row]]) -> Batch:
    """Each line is one or more rows, padded at its end: what is causal never looks at padding."""
    width = max(sum(len(row) for row in line) for line in lines)
    tokens = torch.zeros(len(lines), width, dtype=torch.long)
    targets = torch.full_like(tokens, IGNORED)
    positions = torch.arange(width).repeat(len(lines), 1)
    for number, line in enumerate(lines):
        start = 0
        for row in line:
            end = start + len(row)
            tokens[number, start:end] = ids = torch.from_numpy(row.tokens).long()
            targets[number, start : end - 1] = torch.where(torch.from_numpy(row.loss).bool(), ids, IGNORED)[1:]
            positions[number, start:] -= int(positions[number, start])
            start = end
    return Batch(tokens, targets, positions)


def by_length(rows: Sequence[Row], max_tokens: int) -> Iterator[Batch]:
    """One row per line, rows of like length together: on a CPU the quickest, since short rows pay for no long attention."""
    lines: list[list[Row]] = []
    real = 0
    for row in sorted(rows, key=len):
        padded = (len(lines) + 1) * len(row)
        wasteful = real >= SMALLEST and padded > WASTE * (real + len(row))
        if lines and (wasteful or padded > max_tokens):
            yield _batch(lines)
            lines, real = [], 0
        lines.append([row])
        real += len(row)
    if lines:
        yield _batch(lines)


def packed(sequences: Sequence[Sequence[Row]], max_tokens: int) -> Iterator[Batch]:
    """One sequence per line: on a GPU the quickest, since every line is full."""
    lines: list[Sequence[Row]] = []
    for sequence in sorted(sequences, key=lambda rows: sum(map(len, rows))):
        if lines and (len(lines) + 1) * sum(map(len, sequence)) > max_tokens:
            yield _batch(lines)
            lines = []
        lines.append(sequence)
    if lines:
        yield _batch(lines)
