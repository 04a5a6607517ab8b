"""Whether a work lets the other threads of its process have their turn, as the event loop needs it."""

import threading
import time
from collections.abc import Callable


def held_by(work: Callable[[], object]) -> float:
    """The longest that another thread waited for its turn, as a part of the time that the work took."""
    ended, waited = threading.Event(), [0.0]

    def beat() -> None:
        last = time.monotonic()
        while not ended.wait(0.001):
            waited.append(time.monotonic() - last)
            last = time.monotonic()

    other = threading.Thread(target=beat)
    other.start()
    began = time.monotonic()
    work()
    took = time.monotonic() - began
    ended.set()
    other.join()
    return max(waited) / took
