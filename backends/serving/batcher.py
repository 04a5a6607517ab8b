"""Dynamic batching: texts that come while one batch runs are joined into the next. One thread runs the model."""

import asyncio
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.serving.classifier import MOST_TOKENS, Classifier
from backends.serving.engine import Stats
from backends.serving.fair_queue import FairQueue
from backends.serving.tempo import mean

log = logging.getLogger(__name__)
TYPICAL = 128
"""Tokens of the text that is tried: in a short one most of the time is the run's, not the token's."""


@dataclass(eq=False)
class _Text:
    """One text that waits for its scores."""

    tokens: list[int]
    length: int
    """That it is padded to."""
    scores: "asyncio.Future[np.ndarray[Any, Any]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Owns the classifier's thread."""

    def __init__(self, classifier: Classifier, most: int):
        self.classifier, self.most = classifier, most
        """`most` texts in one batch."""
        self._loop = asyncio.get_running_loop()
        self._waiting: FairQueue[_Text] = FairQueue()
        self._news, self._closed = threading.Condition(), False
        self._running = self._steps = self._reading = 0
        self._token = seconds_a_token(classifier)
        """With padding: tried once, then as the last batches took. `_reading`: how many tokens the batch that runs has."""
        self._thread = threading.Thread(target=self._run, name="classifier", daemon=True)
        self._thread.start()

    def expected_wait(self, rows: list[list[int]], client: str = "") -> float:
        """Seconds until the last of these would have its scores, if this client brought them now; 0 when nobody goes before."""
        ahead = self._reading + sum(text.length for text in self._waiting.ahead(client, len(rows)) if not text.scores.cancelled())
        return self._token * (ahead + sum(map(self.classifier.bucket, rows))) if ahead else 0.0

    async def scores(self, rows: list[list[int]], client: str = "") -> "list[np.ndarray[Any, Any]]":
        """Those of each, in order. Cancelled, those that have not begun never will."""
        texts = [_Text(row, self.classifier.bucket(row)) for row in rows]
        with self._news:
            for text in texts:
                self._waiting.push(client, text)
            self._news.notify()
        try:
            return [await text.scores for text in texts]
        finally:
            for text in texts:
                text.scores.cancel()

    @property
    def stats(self) -> Stats:
        return Stats(running=self._running, waiting=len(self._waiting), slots=self.most, steps=self._steps)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next():
                started = time.monotonic()
                scores = self.classifier.scores([text.tokens for text in batch])
                self._token = mean(self._token, (time.monotonic() - started) / self._reading)
                self._loop.call_soon_threadsafe(_tell, batch, scores)
        except BaseException:
            # As with the engine: a fresh process is the safe way on, and the supervisor brings it.
            log.critical("the classifier failed; this worker ends", exc_info=True)
            logging.shutdown()
            os._exit(70)

    def _next(self) -> list[_Text]:
        """The one whose turn it is, and in turn whoever fits beside it. Empty at the end."""
        with self._news:
            self._running = self._reading = 0
            while not (first := self._first()) and not self._closed:
                self._news.wait()
            if self._closed or not first:
                return []
            length, batch = first.length, [self._waiting.pop()]
            while len(batch) < min(self.most, max(1, MOST_TOKENS // length)):
                text = self._waiting.pop_like(lambda text: text.length == length)
                if not text:
                    break
                batch += [] if text.scores.cancelled() else [text]
            self._running, self._reading, self._steps = len(batch), len(batch) * length, self._steps + 1
            return batch

    def _first(self) -> _Text | None:
        """Whose turn it is; those that nobody waits for any more are dropped."""
        while (first := self._waiting.peek()) and first.scores.cancelled():
            self._waiting.pop()
        return first


def seconds_a_token(classifier: Classifier) -> float:
    """So that the first who come in numbers are told how long it takes, too."""
    text = [classifier.contract.pad_id] * min(TYPICAL, classifier.contract.max_tokens)
    started = time.monotonic()
    classifier.scores([text])
    return (time.monotonic() - started) / classifier.bucket(text)


def _tell(batch: list[_Text], scores: "np.ndarray[Any, Any]") -> None:
    for text, row in zip(batch, scores, strict=True):
        if not text.scores.done():
            text.scores.set_result(row)
