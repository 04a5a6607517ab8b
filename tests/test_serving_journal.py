"""The journal keeps every request, keeps nobody's address, and survives a crash."""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growth import IN_PROPORTION, growth
from serving_parts import eventually

from backends.serving.journal import Journal
from llmspec.journal import CURRENT, backwards, feedback, full_files, read
from llmspec.journal_stats import Feedback, feedback_since, requests_since
from llmspec.redaction import redact
from llmspec.spec.endpoint import DAY
from llmspec.spec.endpoint import Journal as Kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Write to ana.b+x@shop.example.com, please", "Write to [EMAIL], please"),
        ("card 4111 1111 1111 1111 or 5500-0000-0000-0004.", "card [CREDIT_CARD] or [CREDIT_CARD]."),
        ("order 4111111111111112", "order 4111111111111112"),
        ("Call +49 30 1234567 or 030/123 45 67 or (555) 123-4567.", "Call [PHONE] or [PHONE] or [PHONE]."),
        ("on 2024-05-01 order 12345678 cost 12.50, pi is 3.14159265", "on 2024-05-01 order 12345678 cost 12.50, pi is 3.14159265"),
        ("within 30 days, 2 of 3", "within 30 days, 2 of 3"),
    ],
)
def test_addresses_numbers_and_cards_are_redacted_and_look_alikes_are_not(written: str, kept: str) -> None:
    assert redact(written) == kept


@pytest.mark.parametrize(
    ("part", "times", "end"),
    [
        ("a", 160_000, "@"),
        ("'", 40_000, "@"),
        ("1-", 32_000, ""),
        ("1", 160_000, ""),
        ("a@", 160_000, ""),
        ("a.", 160_000, ""),
        ("+1 (", 160_000, ""),
    ],
)
def test_hostile_text_is_redacted_in_time_in_proportion(part: str, times: int, end: str) -> None:
    assert growth(redact, part * times + end) < IN_PROPORTION


def test_what_was_asked_is_read_back_in_order_without_addresses(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(50):
        journal.write(id=str(number), question="I am ana@shop.example", answer="No \ud800 problem", status=200)
    journal.close()
    entries = list(read(tmp_path))
    assert [entry["id"] for entry in entries] == [str(number) for number in range(50)]
    assert entries[0]["question"] == "I am [EMAIL]"
    assert "ana@shop" not in (tmp_path / CURRENT).read_text()


def test_a_torn_last_line_loses_itself_only(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_text(json.dumps({"time": 1.0, "id": "before"}) + '\n{"time": 2.0, "id": "to')
    journal = Journal(tmp_path)
    journal.write(id="after")
    journal.close()
    assert [entry["id"] for entry in read(tmp_path)] == ["before", "after"]


def test_two_workers_share_the_journal_and_full_files_are_turned_over(tmp_path: Path) -> None:
    old, new = Journal(tmp_path, file_bytes=2000, keep=3), Journal(tmp_path, file_bytes=2000, keep=3)
    for number in range(30):
        (old if number % 2 else new).write(id=number, answer="x" * 100)
    old.close()
    new.close()
    assert sorted(entry["id"] for entry in read(tmp_path)) == list(range(30))
    late = Journal(tmp_path, file_bytes=2000, keep=3)
    for number in range(200):
        late.write(id=number, answer="x" * 100)
    late.close()
    assert len(full_files(tmp_path)) == 3
    assert [entry["id"] for entry in read(tmp_path)][-1] == 199


class Calendar:
    """A clock that a test turns."""

    def __init__(self, day: float):
        self.now = day * DAY

    def __call__(self) -> float:
        return self.now


def written(folder: Path, calendar: Calendar, *ids: str, **how: Any) -> None:
    """By a worker of its own each time, as after a restart."""
    for id in ids:
        journal = Journal(folder, clock=calendar, **how)
        journal.write(id=id, release=1, status=200)
        journal.close()
        for path in folder.glob("*.jsonl"):
            if path.name == CURRENT:
                os.utime(path, (calendar.now, calendar.now))


def test_a_file_is_begun_every_day_and_those_older_than_keep_are_removed(tmp_path: Path) -> None:
    calendar, kept = Calendar(20_000.5), Kept(keep="3d")  # type: ignore[arg-type]
    for day in range(6):
        calendar.now = (20_000.5 + day) * DAY
        written(tmp_path, calendar, f"{day}a", f"{day}b", kept=kept)
    assert [entry["id"] for entry in read(tmp_path)] == ["2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b"]
    assert len(full_files(tmp_path)) == 3
    calendar.now += 60 * DAY
    idle = Journal(tmp_path, kept=kept, clock=calendar)
    idle.close()  # nobody asks, and what is too old goes all the same
    assert list(read(tmp_path)) == []


def test_quiet_days_are_kept_as_long_as_the_spec_says_however_many_files_they_are(tmp_path: Path) -> None:
    calendar, kept = Calendar(20_000.5), Kept(keep="30d")  # type: ignore[arg-type]
    for _ in range(40):
        calendar.now += DAY
        written(tmp_path, calendar, "a line a day", kept=kept)
    assert len(list(read(tmp_path))) == 31


def test_a_worker_that_runs_over_midnight_begins_a_file(tmp_path: Path) -> None:
    calendar = Calendar(20_000.9)
    journal = Journal(tmp_path, clock=calendar)
    journal.write(id="late")
    eventually(lambda: [entry["id"] for entry in read(tmp_path)] == ["late"])
    calendar.now += 0.2 * DAY
    journal.write(id="early")
    journal.close()
    assert [len(path.read_text().splitlines()) for path in (full_files(tmp_path)[0], tmp_path / CURRENT)] == [1, 1]


def test_workers_that_turn_the_journal_over_at_once_lose_no_line(tmp_path: Path) -> None:
    both = [Journal(tmp_path, file_bytes=500, keep=10_000) for _ in range(4)]
    for number in range(400):
        both[number % 4].write(id=number, answer="x" * 60)
    for journal in both:
        journal.close()
    assert sorted(entry["id"] for entry in read(tmp_path)) == list(range(400))


def numbered(folder: Path, name: str, *numbers: int) -> None:
    (folder / name).write_text("".join(json.dumps({"time": float(number), "id": str(number)}) + "\n" for number in numbers))


def turn_over(folder: Path) -> None:
    (folder / CURRENT).rename(folder / "journal-000002.jsonl")
    numbered(folder, CURRENT, 3)


def test_a_file_that_is_turned_over_while_it_is_read_is_neither_missed_nor_read_twice(tmp_path: Path) -> None:
    numbered(tmp_path, "journal-000001.jsonl", 0, 1)
    numbered(tmp_path, CURRENT, 2)
    seen = []
    for entry in read(tmp_path):
        seen.append(entry["id"])
        if entry["id"] == "0":
            turn_over(tmp_path)
    assert seen == ["0", "1", "2"]


def backwards_by_read(folder: Path) -> list[str]:
    return [entry["id"] for entry in read(folder)][::-1]


def by_backwards(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in backwards(folder)]


@pytest.mark.parametrize("reading", [backwards_by_read, by_backwards])
def test_a_file_that_is_turned_over_just_before_it_is_opened_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: Callable[[Path], list[str]]
) -> None:
    numbered(tmp_path, "journal-000001.jsonl", 0, 1)
    numbered(tmp_path, CURRENT, 2)

    def looked(folder: Path) -> list[Path]:
        monkeypatch.undo()
        found = full_files(folder)
        turn_over(folder)
        return found

    monkeypatch.setattr("llmspec.journal.full_files", looked)
    assert reading(tmp_path) == ["3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("content", "kept"),
    [("redacted", ["I am [EMAIL]", "[PHONE]"]), ("full", ["I am ana@shop.example", "+49 30 1234567"]), ("none", ["", ""])],
)
def test_what_is_kept_of_words_is_what_the_spec_says(tmp_path: Path, content: Any, kept: list[str]) -> None:
    journal = Journal(tmp_path, kept=Kept(content=content))
    journal.write(id="a", release=1, question="I am ana@shop.example", answer="")
    journal.write(feedback="a", release=1, rating="down", comment=None, correction="+49 30 1234567")
    journal.close()
    (asked,), (said,) = read(tmp_path), feedback(tmp_path)
    assert [asked["question"], said["correction"]] == kept
    assert (said["feedback"], said["rating"], said["comment"]) == ("a", "down", None)


def test_an_answer_is_found_by_its_id_in_memory_on_the_disk_and_in_full_files(tmp_path: Path) -> None:
    ids = [f"{number:032x}" for number in range(3000)]
    journal = Journal(tmp_path, file_bytes=100_000)
    head = {"path": "/v1/chat/completions", "status": 200}
    faked = f'"id": "{"f" * 32}", "release": 7, "path": "/v1/chat/completions", "status": 200'
    for number, id in enumerate(ids):
        journal.write(id=id, release=number, **head, question=faked, answer="x" * 100)
    assert journal.release_of(ids[-1]) == 2999, "before it is written"
    journal.close()
    assert len(full_files(tmp_path)) > 3
    later = Journal(tmp_path)
    assert [later.release_of(ids[number]) for number in (0, 1, 1500, 2998, 2999)] == [0, 1, 1500, 2998, 2999]
    assert later.release_of("f" * 32) is None, "what people write is no id"
    later.close()
    assert Journal(None).release_of(ids[0]) is None


def test_a_request_that_was_refused_is_no_answer_in_memory_and_on_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number, status in enumerate((200, 400, 429, 499, 500)):
        journal.write(id=f"{number:032x}", release=1, path="/v1/chat/completions", status=status, question="x")
    for _ in range(2):
        assert [journal.release_of(f"{number:032x}") for number in range(5)] == [1, None, None, None, None]
        journal.close()
        journal = Journal(tmp_path)
    journal.close()


def test_a_line_that_the_disk_does_not_take_is_counted_and_whoever_waits_for_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(tmp_path), os.write

    def full(file: int, line: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert journal.write(id="a").result(10)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        disk.setattr(os, "fsync", lambda file: full(file, b""))
        assert [journal.write(id=id).result(10) for id in "bc"] == [False, False]
    assert journal.lost == 2
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:5]))
    assert not journal.write(id="d").result(10), "a part of it is no line"
    monkeypatch.undo()
    assert journal.write(id="e").result(10)
    journal.close()
    assert ([entry["id"] for entry in read(tmp_path)], journal.lost) == (["a", "e"], 3)
    assert Journal(None).write(id="f").result(0), "what shall be forgotten is not lost"


def test_the_last_word_on_an_answer_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for rating, id, correction in (
        ("up", "a", None),
        ("down", "a", "Better."),
        ("up", "b", None),
        (None, "c", None),
        ("up", "d", None),
    ):
        journal.write(feedback=id, release=1, rating=rating, comment=None, correction=correction)
    journal.write(id="e", release=1, question='"feedback"')
    journal.close()
    assert feedback_since(tmp_path, 0) == Feedback(up=2, down=1, corrections=1)
    assert str(feedback_since(tmp_path, 0)) == "2 up · 1 down · 1 corrected"
    assert feedback_since(tmp_path, time.time() + 100) == Feedback()
    assert requests_since(tmp_path, 0) == ([], True), "feedback is no request"
