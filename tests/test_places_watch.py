"""Waiting for a job elsewhere: whoever is told to end ends it, whenever the signal comes."""

import io
import signal
from pathlib import Path
from typing import cast

import pytest

from backends.places.log_tail import Tail
from backends.places.talk import Talk
from backends.places.watch import follow, stopped_with_us
from llmspec.job import Job


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
