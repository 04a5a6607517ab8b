"""One request on its way from prompt to answer."""

import time
from dataclasses import dataclass
from typing import Literal

from backends.serving.chooser import Chooser
from backends.serving.drafts import Drafts
from backends.serving.prefix import names
from backends.serving.sampling import Sampling
from backends.serving.text import TextStream

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Answer:
    """What came out."""

    ids: list[int]
    """Every token made, also the one that ended it."""
    text: str
    """Without special tokens and without the stop text."""
    finish: Finish


class Generation:
    """One request. `text`, `ids` and `finish` may be read from any thread: they only grow."""

    def __init__(self, prompt: list[int], sampling: Sampling, stream: TextStream, client: str = ""):
        self.prompt, self.sampling, self.client, self._stream = prompt, sampling, client, stream
        self.chooser = Chooser(sampling, prompt)
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self.ending: Finish | None = None
        """How it shall end at the next step, when somebody asked for that."""
        self.slot = -1
        self.read = 0
        """Tokens of the prompt in its slot's memory."""
        self.reused = 0
        """Those of them that were copied from what had been read before."""
        self.submitted = time.monotonic()
        self.joined: float | None = None
        """When it got its slot."""
        self.first_token: float | None = None
        """Seconds from submission to the first token."""
        self.gaps: list[float] = []
        """Seconds from each token to the next."""
        self._last = 0.0
        self.chain = names(prompt)
        """What its blocks are called in the prefix cache."""
        self._drafts: Drafts | None = None

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def queued(self) -> float | None:
        """Seconds from submission until it got its slot."""
        return None if self.joined is None else self.joined - self.submitted

    @property
    def complaint(self) -> str:
        return self.chooser.fault

    @property
    def tokens_read(self) -> int:
        return len(self.prompt)

    @property
    def tokens_made(self) -> int:
        return len(self.ids)

    @property
    def answering(self) -> bool:
        """Its prompt has been read; from now on it gets a token per step."""
        return self.read == len(self.prompt)

    @property
    def drafts(self) -> Drafts:
        if self._drafts is None:
            self._drafts = Drafts([*self.prompt, *self.ids])
        return self._drafts

    def take(self, token: int, stop_ids: frozenset[int], room: int) -> None:
        """One more token: is it the last?"""
        now = time.monotonic()
        if self.first_token is None:
            self.first_token = now - self.submitted
        else:
            self.gaps.append(now - self._last)
        self._last = now
        self.ids.append(token)
        if self._drafts:
            self._drafts.add(token)
        if token in stop_ids:
            self.end("stop")
            return
        self._stream.push(token)
        if self._stream.stopped or self.chooser.done:
            self.end("stop")
        elif len(self.ids) >= min(self.sampling.max_tokens, room):
            self.end("length")

    def end(self, finish: Finish) -> None:
        self._stream.finish()
        self.finish = "stop" if self._stream.stopped else finish

    def answer(self) -> Answer:
        assert self.finish is not None
        return Answer(list(self.ids), self.text, self.finish)
