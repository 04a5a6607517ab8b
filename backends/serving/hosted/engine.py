"""Questions to a hosted model, many at once: each is a thread that listens to a stream, and tells whoever waits of what is new.

Evaluation and endpoint ask through here. Text only grows, and what an answer has said when it ends is all that it says.
"""

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from threading import Event, Lock, Thread
from typing import Any

from backends.serving.hosted.bedrock import FAULTS, BedrockError, asking, meaning
from backends.serving.hosted.contract import BYTES_PER_TOKEN, HostedContract, HostedModel, about_tokens
from backends.serving.stats import Stats

log = logging.getLogger(__name__)

REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
"""Converse's word for how an answer ended: OpenAI's."""
LAST = 20
"""Answers whose times tell how long the next one will take."""


class Question:
    """One question on its way to its answer. `text` and `finish` may be read from any thread."""

    def __init__(self, request: dict[str, Any], tell: Callable[[], None]):
        self.request, self._tell = request, tell
        self._stops = tuple(request["inferenceConfig"].get("stopSequences", ()))
        self.text, self._held = "", ""
        self.finish: str | None = None
        self.trouble: BedrockError | None = None
        """Why it has no answer."""
        self.submitted = time.monotonic()
        self.joined: float | None = None
        """When it was its turn."""
        self.first_token: float | None = None
        """Seconds from submission to the first words."""
        self.gaps: list[float] = []
        """Seconds from each piece of text to the next."""
        self.usage: tuple[int, int] | None = None
        """Tokens in and out, as Bedrock counted and bills them; absent when it was cut off before it said."""
        self._reason, self._last, self._stream = "", 0.0, None
        self._lock = Lock()

    @property
    def queued(self) -> float | None:
        """Seconds from submission until it was its turn."""
        return None if self.joined is None else self.joined - self.submitted

    @property
    def complaint(self) -> str:
        """A hosted model is asked nothing that could go wrong so late."""
        return ""

    @property
    def tokens_read(self) -> int:
        """As Bedrock counted; else from its length. Nothing until it has ended, as a count must not shrink."""
        if self.finish is None or self.joined is None:
            return 0
        return self.usage[0] if self.usage else 0 if self.trouble else about_tokens(self.request)

    @property
    def tokens_made(self) -> int:
        """Likewise."""
        if self.finish is None:
            return 0
        return self.usage[1] if self.usage else math.ceil(len(self.text.encode()) / BYTES_PER_TOKEN)

    def end(self, finish: str, trouble: BedrockError | None = None) -> None:
        """The first end counts. The stream is closed: what is not read is not waited for."""
        with self._lock:
            if self.finish is not None:
                return
            self.trouble, self.finish = trouble, finish
            stream = self._stream
        _shut(stream)
        self._tell()

    def listen(self, stream: Any) -> None:
        """To the end of the stream, or its own."""
        with self._lock:
            self._stream = stream
            over = self.finish is not None
        try:
            if over:
                return
            for event in stream:
                if self.finish is not None:
                    return
                self._hear(event)
        finally:
            stream.close()
        if self._reason not in REASONS:
            said = f"its answer ended with '{self._reason}'" if self._reason else "its answer broke off"
            raise BedrockError(502, f"the model failed at Bedrock: {said}", "model_failed")
        self._say(self._tail())
        self.end(REASONS[self._reason])

    def _hear(self, event: dict[str, Any]) -> None:
        if "contentBlockDelta" in event:
            self._say(self._final(event["contentBlockDelta"]["delta"].get("text", "")))
        elif "messageStop" in event:
            self._reason = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
            self.usage = usage["inputTokens"], usage["outputTokens"]

    def _final(self, text: str) -> str:
        """What may be said already: some models say the text that stops them, and that is no part of an answer."""
        self._held += text
        keep = max((len(stop) for stop in self._stops), default=0)
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said

    def _tail(self) -> str:
        ended = next((stop for stop in self._stops if self._held.endswith(stop)), "") if self._reason == "stop_sequence" else ""
        return self._held.removesuffix(ended) if ended else self._held

    def _say(self, text: str) -> None:
        if not text:
            return
        now = time.monotonic()
        with self._lock:
            if self.finish is not None:
                return
            self.text += text
        if self.first_token is None:
            self.first_token = now - self.submitted
        else:
            self.gaps.append(now - self._last)
        self._last = now
        self._tell()


class HostedEngine:
    """A hosted model, ready to be asked."""

    def __init__(self, folder: Path, at_once: int, silence: float, patience: int = 1):
        """silence: seconds without a word after which a question is given up; patience: how often a busy model is asked again."""
        self.contract, self.model = HostedContract.load(folder), HostedModel.load(folder)
        self._client = asking(self.model.region, at_once=at_once, silence=silence, patience=patience)
        self.at_once, self._threads = at_once, 0
        self._turns: SimpleQueue[Question] = SimpleQueue()
        self._asked: set[Question] = set()
        self._seconds: deque[float] = deque(maxlen=LAST)
        self._done = 0

    def submit(self, request: dict[str, Any], tell: Callable[[], None] = lambda: None) -> Question:
        """Its turn comes in the order of asking. `tell` is called from another thread whenever there is news."""
        asked = Question(request, tell)
        self._asked.add(asked)
        self._turns.put(asked)
        if self._threads < self.at_once:
            self._threads += 1
            # A daemon: one that still waits for a model's first word holds up no process that ends.
            Thread(target=self._listen, name=f"bedrock-{self._threads}", daemon=True).start()
        return asked

    def _listen(self) -> None:
        while True:
            self._answer(self._turns.get())

    def _answer(self, asked: Question) -> None:
        try:
            if asked.finish is None:
                asked.joined = time.monotonic()
                asked.listen(self._client.converse_stream(modelId=self.model.id, **asked.request)["stream"])
                if asked.usage:
                    self._seconds.append(time.monotonic() - asked.joined)
        except FAULTS as error:
            if asked.finish is None:  # else it is only the sound of a stream that was closed
                asked.end("error", meaning(error, self.model))
        except BedrockError as error:
            asked.end("error", error)
        except Exception:  # whoever waits must not wait for ever
            log.exception("asking the model failed")
            asked.end("error", BedrockError(500, "the endpoint failed; its log says more"))
        finally:
            self._asked.discard(asked)
            self._done += 1

    def prove(self) -> None:
        """One word is asked for, at its price. What does not pass by itself keeps a release from being served."""
        asked = Event()
        question = self.submit(self.contract.request([{"role": "user", "content": "Hello"}], 1), asked.set)
        while question.finish is None:
            asked.wait()
            asked.clear()
        if question.trouble and not question.trouble.passing:
            raise question.trouble

    @property
    def stats(self) -> Stats:
        running = sum(asked.joined is not None for asked in list(self._asked))
        return Stats(running=running, waiting=len(self._asked) - running, slots=self.at_once, steps=self._done)

    def expected_wait(self) -> float:
        """Seconds until a question that comes now would have its turn, as the last ones went."""
        ahead = len(self._asked) - self.at_once + 1
        return math.ceil(ahead / self.at_once) * mean(self._seconds) if ahead > 0 and self._seconds else 0.0

    def close(self) -> None:
        for asked in list(self._asked):
            asked.end("cancelled")


def _shut(stream: Any) -> None:
    """Wakes the thread that listens: closing alone would leave it waiting for the next word, and the model talking."""
    raw = getattr(stream, "_raw_stream", None)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # it has ended by itself
        if raw is not None and hasattr(raw, "shutdown"):
            raw.shutdown()
