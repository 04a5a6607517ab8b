"""How much longer a text eight times as long takes, told so that nothing else on the machine is taken for it."""

import time
from collections.abc import Callable

TIMES = 8
IN_PROPORTION = 24
"""Between eight times, of a work that is linear, and sixty-four, of one that is quadratic."""


def growth(work: Callable[[str], object], text: str, least_s: float = 0.02) -> float:
    """Of `text` over an eighth of it, by this thread's own time: other threads of the process, and what the machine does
    besides, only add to it. So the quickest of some tries counts, and no more are made once they agree that it is linear."""
    work(text[:1000])
    small = large = float("inf")
    for _ in range(5):
        small = min(small, took(work, text[: len(text) // TIMES]))
        large = min(large, took(work, text))
        if large / max(small, least_s) < IN_PROPORTION:
            break
    return large / max(small, least_s)


def took(work: Callable[[str], object], text: str) -> float:
    began = time.thread_time()
    work(text)
    return time.thread_time() - began
