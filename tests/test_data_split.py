"""data: no question and no group is in two parts, and growing data moves nobody but whom a part had no room for."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.work.clean_split import divide, joined
from llmspec.errors import PlaceError
from llmspec.spec.data import Split
from tests.data_parts import COLUMNS, asked, jsonl, run

PARTS = {"train", "validation", "test"}
keys = st.integers(0, 30).map(lambda n: bytes([n]))
tables = st.lists(st.tuples(keys, st.none() | keys), min_size=1, max_size=80)


def questions(num: int) -> list[bytes]:
    return [n.to_bytes(4, "big") for n in range(num)]


@given(tables, st.integers(0, 5))
@settings(max_examples=300)
def test_whatever_the_rows_nothing_is_shared_and_nothing_is_empty(rows: list[tuple[bytes, bytes | None]], seed: int) -> None:
    asked_, groups = [q for q, _ in rows], [g for _, g in rows]
    if len(joined(asked_, groups)) < 3:
        with pytest.raises(PlaceError):
            divide(asked_, groups, Split(seed=seed))
        return
    parts = divide(asked_, groups, Split(seed=seed))
    assert set(parts) == PARTS
    for keys_ in (asked_, groups):
        where: dict[bytes, set[str]] = {}
        for key, part in zip(keys_, parts, strict=True):
            if key is not None:
                where.setdefault(key, set()).add(part)
        assert all(len(found) == 1 for found in where.values())


@given(tables)
def test_groups_are_joined_by_the_shortest_definition(rows: list[tuple[bytes, bytes | None]]) -> None:
    label = list(range(len(rows)))  # slow and obvious: spread the smallest label until nothing changes
    while True:
        before = list(label)
        for a, (q, g) in enumerate(rows):
            for b, (r, h) in enumerate(rows):
                if q == r or (g is not None and g == h):
                    label[a] = label[b] = min(label[a], label[b])
        if label == before:
            break
    found = joined([q for q, _ in rows], [g for _, g in rows])
    assert sorted(map(sorted, found)) == sorted(sorted(n for n, one in enumerate(label) if one == each) for each in set(label))


def test_shares_are_met_about() -> None:
    found = Counter(divide(questions(5000), [None] * 5000, Split(train=0.7, validation=0.2, test=0.1)))
    assert abs(found["train"] - 3500) < 150
    assert abs(found["validation"] - 1000) < 120
    assert abs(found["test"] - 500) < 90


def test_more_rows_move_none_to_another_part() -> None:
    few, many = (divide(questions(n), [None] * n, Split()) for n in (500, 2000))
    assert many[:500] == few


def test_a_group_too_big_for_its_part_goes_there_once_there_is_room_and_moves_nobody() -> None:
    parts = set()
    for seed in range(20):
        few, many = (divide([b"big"] * 60 + questions(n), [None] * (60 + n), Split(seed=seed)) for n in (200, 2000))
        assert few[0] == "train"
        assert many[60:260] == few[60:]
        parts.add(many[0])
    assert parts == PARTS


def test_another_seed_is_another_split() -> None:
    one, two = (divide(questions(200), [None] * 200, Split(seed=seed)) for seed in (1, 2))
    assert one != two
    assert one == divide(questions(200), [None] * 200, Split(seed=1))


def test_a_group_too_big_for_its_part_trains() -> None:
    for seed in range(20):
        groups: list[bytes | None] = [b"big"] * 60 + [None] * 40
        parts = divide(questions(100), groups, Split(seed=seed))
        assert set(parts[:60]) == {"train"}
        assert set(parts) == PARTS


def test_fewer_than_three_groups_say_so(tmp_path: Path) -> None:
    rows = asked(10, shop=lambda n: f"shop {n % 2}")
    source = {"columns": {**COLUMNS, "shop": "shop"}}
    with pytest.raises(PlaceError, match=r"10 rows make 2 groups that share no question or shop.*take split\.group_by out"):
        run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), source=source, split={"group_by": "shop"})


def test_a_question_that_differs_in_case_and_blanks_is_the_same_question(tmp_path: Path) -> None:
    rows = [
        {"question": spelled, "answer": f"{spelled}!"}
        for n in range(40)
        for spelled in (f"Was ist Straße {n}?", f" was  ist STRASSE {n}?")
    ]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows))
    where = {row["answer"]: part for part in PARTS for row in done.part(part)}
    for n in range(40):
        assert where[f"Was ist Straße {n}?!"] == where[f" was  ist STRASSE {n}?!"]


def test_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    rows = asked(60, shop=lambda n: f"shop {n % 12}" if n % 5 else None)
    done = run(
        tmp_path, jsonl(tmp_path / "a.jsonl", rows), source={"columns": {**COLUMNS, "shop": "shop"}}, split={"group_by": "shop"}
    )
    shops = [{row["shop"] for row in done.part(part)} - {None} for part in sorted(PARTS)]
    assert not shops[0] & shops[1] | shops[0] & shops[2] | shops[1] & shops[2]
    assert done.metrics["train"] + done.metrics["validation"] + done.metrics["test"] == 60
