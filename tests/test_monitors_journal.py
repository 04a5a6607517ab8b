"""monitors: numbers and alarms from a journal that the endpoint's own writer wrote."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx_parts import Silent, report

from backends.serving.journal import Journal
from backends.work.report import Report
from backends.work.watch_journal import watch
from llmspec.expressions import Alarm
from llmspec.journal import CURRENT
from llmspec.journal_stats import (
    Minute,
    Request,
    busy_seconds,
    by_minute,
    look,
    numbers,
    percentile,
    requests_since,
    ringing,
    summary,
)
from llmspec.spec.monitors import Monitors

NOW = 1_800_000_000.0 + 30  # half a minute into a minute


def line(ago: float, seconds: float = 0.5, status: int = 200, tokens: int = 10, **more: Any) -> dict[str, Any]:
    known = {"time": NOW - ago, "status": status, "seconds": seconds, "first_token_seconds": seconds / 5, "path": "/v1/completions"}
    return {**known, "release": 1, "prompt_tokens": 5, "answer_tokens": tokens, "finish": "stop", **more}


def journal(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    ordered = sorted(lines, key=lambda entry: entry["time"])
    (folder / CURRENT).write_text("".join(json.dumps(entry) + "\n" for entry in ordered))
    return folder


def requests(*lines: dict[str, Any]) -> list[Request]:
    found = [Request.of(json.dumps(entry).encode()) for entry in lines]
    return [request for request in found if request]


def minutes(*lines: dict[str, Any], back: float = 900) -> list[Minute]:
    return by_minute(requests(*lines), NOW - back, NOW)


# numbers


def test_numbers_are_those_worked_out_by_hand() -> None:
    asked = [line(ago=100 - index, seconds=index / 10, tokens=4) for index in range(1, 11)]  # 0.1 … 1.0 s
    asked += [line(ago=50, status=500, seconds=9.0, tokens=0), line(ago=40, status=429, seconds=0.0, tokens=0)]
    found = numbers(requests(*asked), seconds=120)
    assert (found["requests"], found["requests_per_minute"]) == (12, 6)
    assert (found["errors"], found["refused"], found["error_rate"]) == (1, 1, pytest.approx(1 / 12))
    assert (found["p50_latency"], found["p95_latency"], found["p99_latency"]) == (0.5, 1.0, 1.0)
    assert found["p95_first_token"] == pytest.approx(0.2)
    assert (found["answer_tokens"], found["prompt_tokens"]) == (40, 60)


def test_a_percentile_is_a_value_that_occurred() -> None:
    hundred = [float(value) for value in range(1, 101)]
    assert [percentile(hundred, share) for share in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([7.0], 95) == 7.0
    assert percentile([1.0, 2.0], 95) == 2.0


def test_throughput_counts_only_the_time_in_which_somebody_was_answered() -> None:
    # two at once for 2 s (from -12 to -10), and one for 1 s much later: 3 s busy in all
    asked = requests(
        line(ago=10, seconds=2.0, tokens=30), line(ago=10.5, seconds=1.0, tokens=15), line(ago=1, seconds=1.0, tokens=15)
    )
    assert busy_seconds(asked) == pytest.approx(3.0)
    assert numbers(asked, 900)["tokens_per_second"] == pytest.approx(20.0)


def test_what_nobody_measured_is_absent() -> None:
    assert set(numbers([], 60)) == {"requests", "requests_per_minute", "errors", "refused", "prompt_tokens", "answer_tokens"}
    failed = numbers(requests(line(1, status=503)), 60)
    assert failed["error_rate"] == 1.0
    assert "p95_latency" not in failed
    silent = numbers(requests(line(1, first_token_seconds=None)), 60)
    assert "p95_first_token" not in silent


def test_every_minute_is_there_also_the_empty_ones() -> None:
    found = minutes(line(200), line(190), line(5), back=240)
    assert [len(minute.requests) for minute in found] == [0, 2, 0, 0, 1]
    assert [minute.start % 60 for minute in found] == [0.0] * 5


# reading


def test_the_writers_lines_are_read_back(tmp_path: Path) -> None:
    writer = Journal(tmp_path)
    entry = line(0)
    del entry["time"]
    writer.write(**entry, question="Where is my parcel?", answer="Here.")
    writer.close()
    (found,), whole = requests_since(tmp_path, since=0)
    assert (found.status, found.seconds, found.answer_tokens, whole) == (200, 0.5, 10, True)


def test_only_the_end_of_a_long_journal_is_read(tmp_path: Path) -> None:
    folder = journal(tmp_path, *(line(ago, note="x" * 400) for ago in range(3000)))
    kept = (folder / CURRENT).read_bytes()
    # whatever stands before the end is never looked at: here it is no journal at all
    (folder / CURRENT).write_bytes(b"\x00" * (len(kept) // 2) + kept[len(kept) // 2 :])
    found, whole = requests_since(folder, NOW - 100)
    assert ([request.time for request in found], whole) == ([NOW - ago for ago in range(100, -1, -1)], True)


def test_full_files_are_read_on_when_the_current_one_is_too_short(tmp_path: Path) -> None:
    journal(tmp_path, line(50), line(40))
    (tmp_path / CURRENT).rename(tmp_path / "journal-000001.jsonl")
    journal(tmp_path, line(30), line(20))
    (tmp_path / CURRENT).rename(tmp_path / "journal-000002.jsonl")
    journal(tmp_path, line(10))
    assert [NOW - request.time for request in requests_since(tmp_path, NOW - 45)[0]] == [40, 30, 20, 10]


def test_a_torn_line_and_one_that_is_no_request_are_passed_over(tmp_path: Path) -> None:
    folder = journal(tmp_path, line(20), line(10))
    with (folder / CURRENT).open("a") as file:
        file.write('[1]\n{"time": "soon"}\n\n{"time": 18000')
    assert len(requests_since(folder, NOW - 60)[0]) == 2


def test_a_line_out_of_order_is_found_all_the_same(tmp_path: Path) -> None:
    entries = [line(30), line(100), line(20)]  # two workers: the middle one was slow to write
    (tmp_path / CURRENT).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert [NOW - request.time for request in requests_since(tmp_path, NOW - 60)[0]] == [30, 20]


def test_a_journal_that_is_too_busy_says_that_it_was_cut(tmp_path: Path) -> None:
    folder = journal(tmp_path, *(line(ago) for ago in range(200)))
    found, whole = requests_since(folder, NOW - 500, most_bytes=4000)
    assert not whole
    assert 10 < len(found) < 40
    assert found[-1].time == NOW


def test_an_endpoint_that_was_never_asked_has_no_numbers(tmp_path: Path) -> None:
    assert requests_since(tmp_path / "nowhere", 0) == ([], True)


# alarms


def alarm_rings(text: str, *lines: dict[str, Any], back: float = 900) -> bool:
    return ringing(Alarm.parse(text), minutes(*lines, back=back), NOW).ringing


def test_an_alarm_without_a_time_looks_at_all_of_the_period() -> None:
    quick, slow = [line(ago) for ago in range(60, 660, 30)], line(700, seconds=3.0)
    assert alarm_rings("p99_latency > 1s", *quick, slow)
    assert not alarm_rings("p50_latency > 1s", *quick, slow)
    assert not alarm_rings("p99_latency > 1s", *quick, line(901, seconds=3.0), back=1800), "older than the period"


def test_an_alarm_for_five_minutes_rings_when_each_of_them_was_bad() -> None:
    bad = [line(ago=60 * minute + 45, seconds=2.0) for minute in range(5)]
    assert alarm_rings("p95_latency > 1s for 5m", *bad)
    good_one = [*bad[:2], line(ago=165, seconds=0.1), *bad[3:]]
    assert not alarm_rings("p95_latency > 1s for 5m", *good_one)
    assert alarm_rings("p95_latency > 1s for 5m", *bad, line(ago=400, seconds=0.1)), "what was before does not count"


def test_the_minute_that_is_not_over_does_not_count() -> None:
    bad = [line(ago=60 * minute + 45, seconds=2.0) for minute in range(3)]
    assert alarm_rings("p95_latency > 1s for 3m", *bad, line(ago=5, seconds=0.1))
    assert not alarm_rings("p95_latency > 1s for 1m", line(ago=5, seconds=2.0))


def test_minutes_in_which_nobody_asked_are_neither_good_nor_bad() -> None:
    assert alarm_rings("p95_latency > 1s for 5m", line(ago=45, seconds=2.0), line(ago=285, seconds=2.0))
    assert not alarm_rings("p95_latency > 1s for 5m")
    assert not alarm_rings("error_rate > 1% for 5m")


def test_an_endpoint_that_nobody_asks_can_ring() -> None:
    assert alarm_rings("requests_per_minute < 1 for 5m")
    assert alarm_rings("requests_per_minute < 1 for 5m", line(ago=500))
    assert not alarm_rings("requests_per_minute < 1 for 5m", line(ago=100))


def test_errors_are_the_endpoints_and_not_the_clients() -> None:
    assert alarm_rings("error_rate > 1%", *(line(ago) for ago in range(50)), line(60, status=500))
    assert not alarm_rings("error_rate > 1%", *(line(ago) for ago in range(50)), line(60, status=400), line(61, status=429))


def test_an_alarm_says_why() -> None:
    said = ringing(Alarm.parse("p95_latency > 1s for 2m"), minutes(line(45, seconds=1.5), line(95, seconds=1.25)), NOW)
    assert said.reason == "true in 2 of 2 minutes with data, at last p95_latency 1.50 s"
    assert "nobody was answered" in ringing(Alarm.parse("p95_latency > 1s"), minutes(), NOW).reason


# the work


def options(folder: Path, *alarms: str) -> dict[str, Any]:
    return {"monitors": {"every": "15m", "alarms": list(alarms)}, "journal": str(folder), "now": NOW}


def test_watching_gives_numbers_alarms_and_pictures(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    folder = journal(tmp_path / "journal", *(line(ago, seconds=1.5) for ago in range(10, 850, 20)), line(15, status=500))
    heard = Report(Silent())
    metrics = watch(options(folder, "p95_latency > 1s for 5m", "error_rate > 50%"), {}, output, heard)
    assert (metrics["requests"], metrics["errors"], metrics["p95_latency"]) == (43, 1, 1.5)
    assert [alarm["ringing"] for alarm in metrics["alarms"]] == [True, False]
    assert "1 of 2 alarms ring" in heard.summary
    assert "| p95_latency > 1s for 5m | **rings** |" in (output / "report/alarms.md").read_text()
    assert {path.name for path in (output / "report").iterdir()} == {"alarms.md", "latency.svg", "requests.svg", "tokens.svg"}
    assert "polyline" in (output / "report/latency.svg").read_text()
    assert len(json.loads((output / "minutes.json").read_text())) == 16


def test_an_alarm_may_look_further_back_than_the_period(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    slow = [line(ago=60 * minute + 45, seconds=2.0) for minute in range(60)]
    metrics = watch(options(journal(tmp_path / "one", *slow), "p95_latency > 1s for 1h"), {}, output, report())
    assert metrics["alarms"][0]["ringing"]
    assert metrics["requests"] == 15, "the numbers are those of the period"
    recovered = [*slow[:58], line(ago=60 * 58 + 45, seconds=0.1)]
    metrics = watch(options(journal(tmp_path / "two", *recovered), "p95_latency > 1s for 1h"), {}, output, report())
    assert not metrics["alarms"][0]["ringing"]


def test_an_alarm_looks_at_the_whole_of_its_first_minute_however_short_the_period(tmp_path: Path) -> None:
    answered = [line(ago) for ago in range(130, 150)]  # at the beginning of the first of the two minutes
    folder = journal(tmp_path / "journal", *answered, line(95, status=500), line(35, status=500))
    for every in ("1m", "15m"):
        monitors = Monitors.model_validate({"every": every, "alarms": ["error_rate > 50% for 90s"]})
        (alarm,) = look(folder, monitors, NOW + 29).alarms
        assert (alarm.ringing, alarm.reason[:14]) == (False, "true in 1 of 2")


def test_watching_before_anything_was_asked_is_no_failure(tmp_path: Path) -> None:
    metrics = watch(options(tmp_path / "nowhere", "requests_per_minute < 1", "error_rate > 0"), {}, tmp_path, report())
    assert metrics["requests"] == 0
    assert not any(alarm["ringing"] for alarm in metrics["alarms"])
    assert "nothing to show yet" in (tmp_path / "report/latency.svg").read_text()


def test_a_status_line_is_short() -> None:
    asked = requests(*(line(ago, seconds=0.64, tokens=64) for ago in range(1, 213)))
    assert summary(numbers(asked, 900)) == "212 requests · p95 640 ms · 0 errors · 100 tok/s"


def test_statistics_load_nothing_heavy() -> None:
    heavy = "[name for name in ('numpy', 'torch', 'dagster') if name in sys.modules]"
    check = f"import sys, llmspec.journal_stats, llmspec.pictures; print({heavy})"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "[]"
