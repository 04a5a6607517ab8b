"""Waiting for a job elsewhere: looked at often at first, then every few seconds, and ended when we are told to end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from backends.places.log_tail import Tail
from backends.places.talk import Talk
from llmspec.aws import RefusedError

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
    looks, ear = 0, _Ear(talk, tail)
    while not ended():
        ear.listen()
        if talk.told_to_end:
            raise KeyboardInterrupt
        PACE.sleep(looks)
        looks += 1
    ear.listen()
    if looks:
        _last_words(talk, ear)


def _last_words(talk: Talk, ear: "_Ear") -> None:
    """Until the work has said goodbye, or a while has gone by: CloudWatch shows lines some seconds after they were said."""
    until = time.monotonic() + LAST_WORDS_SECONDS
    while not (talk.over or talk.failure or ear.deaf) and time.monotonic() < until:
        PACE.sleep(0)
        ear.listen()


@dataclass
class _Ear:
    """The job goes on whether it is heard or not; its log is asked again at the next look, but by nobody who may not read it."""

    talk: Talk
    tail: Tail
    deaf: bool = False
    told: bool = False
    """Whether it was said that lines are missing for now."""

    def listen(self) -> None:
        if self.deaf:
            return
        try:
            for line in self.tail.new():
                self.talk.hear(line)
            self.told = False
        except RefusedError as error:
            self.deaf = error.denied
            if self.deaf or not self.told:
                self.talk.note(f"its log cannot be shown here{'' if self.deaf else ' just now, and is asked again'}: {error}")
            self.told = True
