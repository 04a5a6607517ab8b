"""Waiting for a job elsewhere: looked at often at first, then every few seconds, and ended when we are told to end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from backends.places.aws_calls import RefusedError
from backends.places.log_tail import Tail
from backends.places.talk import Talk

LAST_WORDS_SECONDS = 10.0
"""How long the log of a job that has ended may still be on its way."""


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks."""

    first: float = 0.5
    most: float = 5.0
    growth: float = 1.3

    def sleep(self, looks: int) -> None:
        """A signal to end breaks it off: Dagster raises it right here."""
        time.sleep(min(self.most, self.first * self.growth ** min(looks, 40)))  # a job of days is looked at very often


PACE = Pace()


@contextmanager
def stopped_with_us(talk: Talk, stop: Callable[[], None]) -> Iterator[None]:
    """Whoever interrupts us interrupts the job; a failure of ours leaves it alone."""
    try:
        with _noted(talk):
            yield
    except Exception:
        raise
    except BaseException:
        stop()
        raise


@contextmanager
def _noted(talk: Talk) -> Iterator[None]:
    """A signal to end is noted before it is raised: raised in a finaliser, or where a library closes something, it is lost."""
    with ExitStack() as until:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if not callable(before) or threading.current_thread() is not threading.main_thread():
                continue

            def heard(number: int, frame: FrameType | None, pass_on: Callable[[int, FrameType | None], object] = before) -> None:
                talk.told_to_end = True
                pass_on(number, frame)

            signal.signal(number, heard)
            until.callback(signal.signal, number, before)
        yield


def follow(talk: Talk, tail: Tail, ended: Callable[[], bool]) -> None:
    """Pass on what the job says until it has ended."""
    looks, hears = 0, True
    while not ended():
        hears = hears and _heard(talk, tail)
        if talk.told_to_end:
            raise KeyboardInterrupt
        PACE.sleep(looks)
        looks += 1
    if hears and _heard(talk, tail) and looks:
        _last_words(talk, tail)


def _last_words(talk: Talk, tail: Tail) -> None:
    """Until the work has said goodbye, or a while has gone by: CloudWatch shows lines some seconds after they were said."""
    until = time.monotonic() + LAST_WORDS_SECONDS
    while not (talk.over or talk.failure) and time.monotonic() < until and _heard(talk, tail):
        PACE.sleep(0)


def _heard(talk: Talk, tail: Tail) -> bool:
    """False when we may not listen: the job goes on, and we say what is missing."""
    try:
        for line in tail.new():
            talk.hear(line)
    except RefusedError as error:
        talk.note(f"its log cannot be shown here: {error}")
        return False
    return True
