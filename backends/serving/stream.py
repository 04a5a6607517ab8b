"""Answers as server-sent events, while they are made; all the choices of a request side by side, as they come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backends.serving.choices import Choice, pieces
from backends.serving.replies import DONE, ApiError, Form, Piece, event

READING_SECONDS = 10.0
"""What a client has to read the rest, when the time for its answer is up."""
Attend = Callable[[Receive], contextlib.AbstractAsyncContextManager[None]]


class Stream(Response):
    """An answer that is sent piece by piece."""

    media_type = "text/event-stream"

    def __init__(self, choices: list[Choice], news: asyncio.Event, form: Form, attend: Attend, timeout: float):
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._choices, self._news, self._form = choices, news, form
        self._attend, self._patience = attend, timeout + READING_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        with contextlib.suppress(TimeoutError):  # a client that reads nothing at all is let go
            async with asyncio.timeout(self._patience), self._attend(receive):
                if fault := await self._refused():
                    await fault.response()(scope, receive, send)
                    return
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for said in self._events():
                    await say(said)
            await say(DONE, more=False)

    async def _refused(self) -> ApiError | None:
        """Why there will be no stream. Its turn is waited for: clients come again after a 429, but not after an event."""
        first = self._choices[0]
        made = first.ticket.generation
        while made.joined is None and made.finish is None:
            self._news.clear()
            if made.joined is None and made.finish is None:
                await self._news.wait()
        if made.finish == "cancelled" and made.joined is None:
            return ApiError(499, "the client left")
        return first.fault() if made.finish else None

    def _count(self) -> None:
        self._form.usage.answer = sum(choice.num_tokens for choice in self._choices)

    async def _events(self) -> AsyncIterator[bytes]:
        if self._form.chat:
            yield b"".join(self._form.opening(choice.index) for choice in self._choices)
        async for piece in pieces(self._choices, self._news):
            if piece.finish and (fault := self._choices[piece.index].fault()):
                yield event(fault.json())
                return
            yield self._form.chunks(piece)
        if self._form.counted:
            self._count()
            yield self._form.usage_chunk()


class Blocked(Response):
    """The stream of a request that a guard stopped before anything was asked of the model."""

    media_type = "text/event-stream"

    def __init__(self, answers: list[Piece], form: Form):
        said = [form.opening(answer.index) for answer in answers] if form.chat else []
        said += [form.chunks(answer) for answer in answers]
        said += [form.usage_chunk()] if form.counted else []
        super().__init__(b"".join([*said, DONE]), headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
