"""Divides rows into train, validation and test: by groups, so that no question is in two parts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from llmspec.errors import PlaceError
from llmspec.spec.data import Split

PARTS = ("train", "validation", "test")


@dataclass
class Group:
    """Rows that must stay together, and the point between 0 and 1 where their group falls."""

    point: float
    rows: list[int]
    part: str = "train"


def joined(questions: Sequence[bytes], groups: Sequence[bytes | None]) -> list[list[int]]:
    """Rows that share a question or a group, however long the chain between them."""
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = key = parent[above]
        return key

    for question, group in zip(questions, groups, strict=True):
        one = root(b"q" + question)
        if group is not None:
            parent[one] = root(b"g" + group)
    together: dict[bytes, list[int]] = defaultdict(list)
    for row, question in enumerate(questions):
        together[root(b"q" + question)].append(row)
    return list(together.values())


def point(rows: list[int], questions: Sequence[bytes], seed: int) -> float:
    """Where a group falls depends on its questions and the seed only: new rows elsewhere never move its point."""
    first = min(blake2b(questions[row], digest_size=8, key=str(seed).encode()).digest() for row in rows)
    return int.from_bytes(first, "big") / 2**64


def fallen(group: Group, split: Split, total: int) -> str:
    """The part whose stretch the point lies in; a group too big for its part trains, until the data has grown enough for it."""
    part = "train" if group.point < split.train else "validation" if group.point < split.train + split.validation else "test"
    return part if len(group.rows) <= max(1, getattr(split, part) * total) else "train"


def divide(questions: Sequence[bytes], groups: Sequence[bytes | None], split: Split) -> list[str]:
    """A part for each row. Shares are met as well as whole groups can; none is empty."""
    found = [Group(point(rows, questions, split.seed), rows) for rows in joined(questions, groups)]
    if len(found) < len(PARTS):
        shared = f"question or {split.group_by}" if split.group_by else "question"
        raise PlaceError(
            f"data: {len(questions)} rows make {len(found)} groups that share no {shared}; "
            "train, validation and test need one each: add rows with other questions"
            + (", or take split.group_by out" if split.group_by else "")
        )
    for group in found:
        group.part = fallen(group, split, len(questions))
    for part in PARTS:
        if not any(group.part == part for group in found):
            lend_to(part, found, split)
    parts = [""] * len(questions)
    for group in found:
        for row in group.rows:
            parts[row] = group.part
    return parts


def lend_to(part: str, found: list[Group], split: Split) -> None:
    """An empty part gets the smallest group of those that can be spared; of equals, the one that falls nearest."""
    middle = {"train": split.train / 2, "validation": split.train + split.validation / 2, "test": 1 - split.test / 2}[part]
    held = {name: sum(group.part == name for group in found) for name in PARTS}
    spare = [group for group in found if held[group.part] > 1]
    min(spare, key=lambda group: (len(group.rows), abs(group.point - middle), group.point)).part = part
