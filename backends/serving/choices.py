"""The choices of one request, while they are made: what is new of each, and what all of it was."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from backends.serving.guards import CONTENT_FILTER, OutputGuard, refusal
from backends.serving.replies import ApiError, Piece, time_up
from backends.serving.ticket import Waiting

if TYPE_CHECKING:
    from backends.serving.logprobs import Listing, Reach


class Choice:
    """One answer on its way to the client."""

    def __init__(
        self,
        index: int,
        ticket: Waiting,
        guard: OutputGuard,
        end: Callable[[], None],
        listing: "tuple[Listing, Reach] | None" = None,
        echo: str = "",
    ):
        """end: frees its slot when the guard stops it."""
        self.index, self.ticket, self.guard, self._end = index, ticket, guard, end
        self._listing, self._echo = listing, echo
        self._said = 0
        self.text = ""
        """What the client has been told."""
        self.finish: str | None = None

    def take(self) -> Piece | None:
        """What is new since the last time; None when nothing is. A slow reader gets more at a time."""
        made = self.ticket.generation
        finish: str | None = made.finish  # read first: what it had said when it ended is whole
        text = made.text[self._said :]
        if not text and finish is None:
            return None
        self._said += len(text)
        text = self.guard.push(text) + (self.guard.finish() if finish else "")
        if self.guard.blocked:
            self._end()
            finish = CONTENT_FILTER
        elif not text and finish is None:
            return None
        echo, self._echo = self._echo, ""
        self.text, self.finish = self.text + text, finish
        refused = refusal(self.guard.blocked) if self.guard.blocked else None
        return Piece(self.index, echo + text, self._logprobs(finish), finish, refused)

    def _logprobs(self, finish: str | None) -> dict[str, Any] | None:
        if self._listing is None:
            return None
        listing, reach = self._listing
        whole = finish is not None and self.guard.clean == self._said and not self.guard.blocked
        return listing.take(None if whole else reach.within(self.guard.clean))

    @property
    def num_tokens(self) -> int:
        return self.ticket.generation.tokens_made

    def fault(self) -> ApiError | None:
        """Why what it has said is not an answer, where it is none."""
        made = self.ticket.generation
        if made.finish == "length" and made.joined is None:
            return time_up()
        said = made.complaint
        return ApiError(400, f"response_format: {said}", param="response_format") if said else None


async def pieces(choices: list[Choice], news: asyncio.Event) -> AsyncIterator[Piece]:
    """Everybody's text as it comes, until all have ended."""
    talking = list(choices)
    while talking:
        news.clear()
        for choice in talking:
            if piece := choice.take():
                yield piece
        talking = [choice for choice in talking if choice.finish is None]
        if talking:
            await news.wait()


async def answers(choices: list[Choice], news: asyncio.Event) -> list[Piece]:
    """All of it, when all have ended."""
    whole = [Piece(choice.index, "") for choice in choices]
    async for piece in pieces(choices, news):
        answer = whole[piece.index]
        answer.text, answer.finish = answer.text + piece.text, piece.finish
        answer.refusal = piece.refusal
        if piece.logprobs:
            from backends.serving.logprobs import joined  # only who computes them has what it needs

            answer.logprobs = joined(answer.logprobs, piece.logprobs)
    return whole
