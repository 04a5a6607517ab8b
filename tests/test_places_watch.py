"""Waiting for a job elsewhere: whoever is told to end ends it, whenever the signal comes."""

import io
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from backends.places.log_tail import Tail
from backends.places.talk import Talk
from backends.places.watch import Pace, follow, stopped_with_us
from llmspec.aws import Aws, RefusedError
from llmspec.job import Job

if TYPE_CHECKING:
    from moto_parts import Moto

pytest_plugins = ["moto_parts"]
REGION = "us-east-1"


class Silent:
    def new(self) -> list[str]:
        return []


class Finalised:
    """Python calls a handler of signals in here as everywhere, and what is raised in here nobody hears."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def talk() -> Talk:
    return Talk(cast("Job", None), None, Path("log"), io.StringIO())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_is_raised_where_nobody_hears_it_ends_the_job_all_the_same(talk: Talk) -> None:
    stops: list[str] = []
    looks: list[int] = []

    def over() -> bool:
        looks.append(1)
        Finalised()
        return False

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stopped_with_us(talk, lambda: stops.append("stopped")):
        follow(talk, cast("Tail", Silent()), over)
    assert (stops, len(looks)) == (["stopped"], 1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_breaks_the_wait_off_and_a_second_one_the_stopping(talk: Talk, number: signal.Signals) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def stop() -> None:
        stops.append(talk.told_to_end)
        signal.raise_signal(number)
        pytest.fail("the second one was not heard")

    stops: list[bool] = []
    before = signal.signal(number, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), stopped_with_us(talk, stop):
            signal.raise_signal(number)
        assert (stops, signal.getsignal(number)) == ([True], interrupted)
    finally:
        signal.signal(number, before)


def test_a_failure_of_ours_leaves_the_job_alone(talk: Talk) -> None:
    with pytest.raises(OSError, match="no"), stopped_with_us(talk, lambda: pytest.fail("it was stopped")):
        raise OSError("no")
    assert not talk.told_to_end


class Hoarse:
    """A log that is refused before it speaks: a word of each look, an error where that is what is said."""

    def __init__(self, *looks: str | RefusedError):
        self.looks = list(looks)

    def new(self) -> Iterator[str]:
        said = self.looks.pop(0) if self.looks else ""
        if isinstance(said, RefusedError):
            raise said
        yield said


def told_of(talk: Talk, monkeypatch: pytest.MonkeyPatch, *looks: str | RefusedError) -> tuple[list[str], list[str]]:
    """What is heard of a job that ends when its log has nothing more, and what is said of it."""
    heard: list[str] = []
    notes: list[str] = []
    monkeypatch.setattr(talk, "hear", heard.append)
    monkeypatch.setattr(talk, "note", notes.append)
    monkeypatch.setattr("backends.places.watch.PACE", Pace(0.0, 0.0))
    monkeypatch.setattr("backends.places.watch.LAST_WORDS_SECONDS", 0.0)
    tail, left = Hoarse(*looks), iter(range(len(looks)))
    follow(talk, cast("Tail", tail), lambda: next(left, None) is None)
    return [line for line in heard if line], notes


def test_a_log_that_is_refused_for_now_is_asked_again_and_that_is_said_once(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = RefusedError("logs: too many questions", "ThrottlingException", "Rate exceeded")
    heard, notes = told_of(talk, monkeypatch, "one", slow, slow, "two")
    assert heard == ["one", "two"]
    assert notes == ["its log cannot be shown here just now, and is asked again: logs: too many questions"]


def test_a_log_that_nobody_here_may_read_is_not_asked_again(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    no = RefusedError("access denied", "AccessDeniedException", "no")
    heard, notes = told_of(talk, monkeypatch, "one", no, "two", "three")
    assert (heard, notes) == (["one"], ["its log cannot be shown here: access denied"])


@pytest.mark.aws
def test_a_stream_whose_token_ran_out_is_read_on_from_its_last_line(aws_here: "Moto", monkeypatch: pytest.MonkeyPatch) -> None:
    group, logs = f"/test/{uuid.uuid4().hex}", Aws(REGION)
    logs.ask("logs", "create_log_group", logGroupName=group)
    at = int(time.time() * 1000)

    def say(stream: str, *lines: tuple[int, str]) -> None:
        events = [{"timestamp": at + later, "message": line} for later, line in lines]
        logs.ask("logs", "put_log_events", logGroupName=group, logStreamName=stream, logEvents=events)

    for stream in ("job/a", "job/b"):
        logs.ask("logs", "create_log_stream", logGroupName=group, logStreamName=stream)
    say("job/a", (0, "one"), (5, "two"), (5, "three"))
    tail = Tail(REGION, group, "job/")
    assert list(tail.new()) == ["one", "two", "three"]
    assert list(tail.new()) == []
    asked = Aws.ask

    def expired(self: Aws, service: str, verb: str, **what: Any) -> dict[str, Any]:
        if "nextToken" in what:
            raise RefusedError("logs: no", "InvalidParameterException", "The specified nextToken is invalid.")
        return asked(self, service, verb, **what)

    monkeypatch.setattr(Aws, "ask", expired)
    say("job/a", (5, "four"), (9, "five"))
    say("job/b", (1, "other"))
    assert list(tail.new()) == ["four", "five", "other"]
