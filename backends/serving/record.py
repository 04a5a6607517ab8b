"""What is known of one request: whoever answers it fills it in, and metrics, journal and traces read it."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from backends.serving.ticket import Made

RECORD = "llmspec.record"
"""Where a request carries it, in its scope."""


@dataclass(eq=False)
class Record:
    """One request."""

    path: str
    started: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: int = 500
    stream: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    first_token_seconds: float | None = None
    finish: str = ""
    key: str = ""
    """The public id of the key that asked; empty without keys."""
    question: str = ""
    answer: str = ""
    guard: str = ""
    """The guard that blocked it."""
    found: list[str] = field(default_factory=list)
    """Guards that found something and did not block: masked, or only noted."""
    rating: str = ""
    """For feedback: what was said, to be counted."""
    body: Any = None
    """The request as it was understood."""
    made: list[Made] = field(default_factory=list)
    """Its answers, from when they were queued."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def stopped(self) -> bool:
        """Whether a guard blocked the request itself: the model read nothing of it."""
        return bool(self.guard) and not self.made

    @property
    def tokens(self) -> int:
        """Read and made for it, also for a client that did not stay for the answer; none where a guard stopped the request."""
        if self.status < 400 and not self.stopped:
            return self.prompt_tokens + self.answer_tokens
        read = sum(made.tokens_read for made in self.made if made.joined is not None)
        return min(read, self.prompt_tokens) + self.answer_tokens

    @property
    def reasons(self) -> list[str]:
        """How each of its answers ended. One whose time was up before its turn came was refused, and is none."""
        if self.guard:
            return ["content_filter"] * max(1, len(self.made))
        if not self.made and self.prompt_tokens and self.status == 200:
            return ["stop"]  # a classification is always a whole answer
        return [str(made.finish or "cancelled") for made in self.made if made.joined is not None or made.finish != "length"]
