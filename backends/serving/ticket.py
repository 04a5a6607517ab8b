"""One answer while it is made, whoever makes it."""

from typing import Protocol


class Made(Protocol):
    """What is known of an answer. `text` and the counts only grow; `finish` is set last."""

    submitted: float
    joined: float | None
    """When it was its turn."""
    first_token: float | None
    """Seconds from submission to the first token."""
    gaps: list[float]
    """Seconds from each token to the next."""

    @property
    def text(self) -> str: ...

    @property
    def finish(self) -> str | None: ...

    @property
    def queued(self) -> float | None: ...

    @property
    def complaint(self) -> str:
        """What is wrong with the request, as far as only answering it could tell."""

    @property
    def tokens_read(self) -> int:
        """Tokens of the prompt."""

    @property
    def tokens_made(self) -> int:
        """Tokens of the answer."""


class Waiting(Protocol):
    """Whoever waits for it."""

    @property
    def generation(self) -> Made: ...
