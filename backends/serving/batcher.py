"""Dynamic batching: texts that come while one batch runs are joined into the next. One thread runs the model."""

import asyncio
import logging
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from backends.serving.classifier import MOST_TOKENS, Classifier
from backends.serving.engine import Stats

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Text:
    """One text that waits for its scores."""

    tokens: list[int]
    number: int
    """In the order of asking."""
    scores: "asyncio.Future[np.ndarray[Any, Any]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Owns the classifier's thread."""

    def __init__(self, classifier: Classifier, most: int):
        self.classifier, self.most = classifier, most
        """`most` texts in one batch."""
        self._loop, self._numbers = asyncio.get_running_loop(), count()
        self._waiting: dict[int, deque[_Text]] = {}
        """By the length they are padded to."""
        self._news, self._closed = threading.Condition(), False
        self._running = self._steps = 0
        self._thread = threading.Thread(target=self._run, name="classifier", daemon=True)
        self._thread.start()

    async def scores(self, rows: list[list[int]]) -> "list[np.ndarray[Any, Any]]":
        """Those of each, in order. Cancelled, those that have not begun never will."""
        texts = [_Text(row, next(self._numbers)) for row in rows]
        with self._news:
            for text in texts:
                self._waiting.setdefault(self.classifier.bucket(text.tokens), deque()).append(text)
            self._news.notify()
        try:
            return [await text.scores for text in texts]
        finally:
            for text in texts:
                text.scores.cancel()

    @property
    def stats(self) -> Stats:
        waiting = sum(len(texts) for texts in list(self._waiting.values()))
        return Stats(running=self._running, waiting=waiting, slots=self.most, steps=self._steps)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next():
                scores = self.classifier.scores([text.tokens for text in batch])
                self._loop.call_soon_threadsafe(_tell, batch, scores)
        except BaseException:
            # As with the engine: a fresh process is the safe way on, and the supervisor brings it.
            log.critical("the classifier failed; this worker ends", exc_info=True)
            logging.shutdown()
            os._exit(70)

    def _next(self) -> list[_Text]:
        """The one that waits longest, and whoever fits beside it. Empty at the end."""
        with self._news:
            self._running = 0
            while not (length := self._oldest()) and not self._closed:
                self._news.wait()
            if self._closed:
                return []
            texts, batch = self._waiting[length], list[_Text]()
            while texts and len(batch) < min(self.most, max(1, MOST_TOKENS // length)):
                text = texts.popleft()
                batch += [] if text.scores.cancelled() else [text]
            self._running, self._steps = len(batch), self._steps + 1
            return batch

    def _oldest(self) -> int:
        """The length whose first text came first; 0 when nobody waits. Those that nobody waits for any more are dropped."""
        for length, texts in list(self._waiting.items()):
            while texts and texts[0].scores.cancelled():
                texts.popleft()
            if not texts:
                del self._waiting[length]
        return min(self._waiting, key=lambda length: self._waiting[length][0].number, default=0)


def _tell(batch: list[_Text], scores: "np.ndarray[Any, Any]") -> None:
    for text, row in zip(batch, scores, strict=True):
        if not text.scores.done():
            text.scores.set_result(row)
