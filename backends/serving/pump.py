"""The engine's thread: it steps while there is work, and wakes whoever waits on the event loop for news."""

import asyncio
import logging
import os
import sys
import threading

from backends.serving.engine import Engine, Finish, Generation
from backends.serving.sampling import Sampling

log = logging.getLogger(__name__)
SWITCH_SECONDS = 0.0005
"""How long a step that has ended waits for the event loop to let go of the interpreter: Python's own 5 ms are a fifth of a step."""


class Ticket:
    """One request, seen from the event loop."""

    def __init__(self, generation: Generation, news: asyncio.Event):
        self.generation, self.news = generation, news


class Pump:
    """Owns the engine's thread."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[Generation, Ticket] = {}
        self._work, self._closed = threading.Event(), False
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def ask(self, prompt: list[int], sampling: Sampling, news: asyncio.Event, client: str = "") -> Ticket:
        """news: set whenever there is something new of it; a request's choices share one."""
        generation = self.engine.submit(prompt, sampling, client)
        ticket = self._tickets[generation] = Ticket(generation, news)
        self._work.set()
        return ticket

    def end(self, ticket: Ticket, finish: Finish = "cancelled") -> None:
        """End it at the next step; nothing when it has ended."""
        if ticket.generation.finish is None:
            self.engine.cancel(ticket.generation, finish)
            self._work.set()

    def close(self) -> None:
        self._closed = True
        self._work.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closed:
                self._work.wait()
                self._work.clear()
                while self.engine.busy and not self._closed:
                    for news in filter(None, self.engine.halves()):
                        self._loop.call_soon_threadsafe(self._wake, news)
        except BaseException:
            # The engine's memory may be half written: a fresh process is the safe way on, and the supervisor brings it.
            log.critical("the engine failed; this worker ends", exc_info=True)
            logging.shutdown()
            os._exit(70)

    def _wake(self, news: list[Generation]) -> None:
        for generation in news:
            ticket = self._tickets.get(generation)
            if ticket:
                ticket.news.set()
                if generation.finish is not None:
                    self._tickets.pop(generation)
