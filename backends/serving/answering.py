"""From a request to its answer, whoever makes it: admit, guard, wait, and leave nothing behind when the client does."""

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from backends.serving.bodies import Chat, Completion
from backends.serving.choices import Choice, answers
from backends.serving.guards import CONTENT_FILTER, Verdict, refusal
from backends.serving.keys import CALLER, Caller
from backends.serving.product import Product
from backends.serving.record import RECORD, Record
from backends.serving.replies import ApiError, Form, Piece, Usage
from backends.serving.stream import Attend, Blocked, Stream
from llmspec.release import Release
from llmspec.spec.endpoint import Limits

Finish = Literal["stop", "length", "cancelled"]


class Answering(Product):
    """One release that generates, answering."""

    def __init__(self, release: Release, limits: Limits, system_prompt: str | None):
        super().__init__(release, limits, system_prompt)
        self._under_way: set[Callable[[Finish], None]] = set()

    @abstractmethod
    async def chat(self, request: Request, body: Chat) -> Response:
        """A conversation is answered."""

    @abstractmethod
    async def complete(self, request: Request, body: Completion) -> Response:
        """A text is continued."""

    @property
    @abstractmethod
    def reads_context(self) -> bool:
        """Whether its form has a place for a request's context."""

    @abstractmethod
    def _end(self, choice: Choice, finish: Finish) -> None:
        """End an answer with what it has; nothing when it has ended."""

    def hurry(self) -> None:
        """Answers under way end with what they have, as at the time limit: there is no time for more."""
        for end in list(self._under_way):
            end("length")

    async def _deliver(
        self, request: Request, body: Chat | Completion, choices: list[Choice], news: asyncio.Event, form: Form
    ) -> Response:
        record: Record = request.scope[RECORD]
        record.made = [choice.ticket.generation for choice in choices]

        def attend(receive: Receive) -> contextlib.AbstractAsyncContextManager[None]:
            return self._attended(choices, record, receive, client_of(request))

        if body.stream:
            return self._streamed(choices, news, form, attend)
        async with attend(request.receive):
            made = await answers(choices, news)
        if any(answer.finish == "cancelled" for answer in made):
            raise ApiError(499, "the client left")
        if fault := next(filter(None, (choice.fault() for choice in choices)), None):
            raise fault
        form.usage = Usage(record.prompt_tokens, record.answer_tokens)
        return JSONResponse(form.whole(made))

    def _streamed(self, choices: list[Choice], news: asyncio.Event, form: Form, attend: Attend) -> Stream:
        return Stream(choices, news, form, attend, self.limits.timeout)

    def _blocked(self, body: Chat | Completion, record: Record, prompts: int, verdict: Verdict) -> Response:
        record.guard, record.finish, record.found = verdict.guard, CONTENT_FILTER, []
        form, said = self._form(body, record), refusal(verdict.guard)
        answers = [Piece(index, "", None, CONTENT_FILTER, said) for index in range(prompts * body.n)]
        return Blocked(answers, form) if body.stream else JSONResponse(form.whole(answers))

    def _form(self, body: Chat | Completion, record: Record) -> Form:
        chat = isinstance(body, Chat)
        name = ("chatcmpl-" if chat else "cmpl-") + record.id
        counted = bool(body.stream_options and body.stream_options.include_usage)
        return Form(chat, name, int(time.time()), self.release.spec, Usage(record.prompt_tokens), counted)

    @contextlib.asynccontextmanager
    async def _attended(self, choices: list[Choice], record: Record, receive: Receive, client: str) -> AsyncIterator[None]:
        """While this lasts, a client that leaves frees its slots, and time that is up ends the answer with what it has."""

        def end(finish: Finish) -> None:
            for choice in choices:
                self._end(choice, finish)

        async def leaving() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            end("cancelled")

        self._under_way.add(end)
        watcher = asyncio.create_task(leaving())
        timer = asyncio.get_running_loop().call_later(max(0.0, self.limits.timeout - record.seconds), end, "length")
        try:
            yield
        finally:
            self._under_way.discard(end)
            timer.cancel()
            watcher.cancel()
            end("cancelled")
            self.turnstile.leave(len(choices), client)
            self._fill(record, choices)

    def _fill(self, record: Record, choices: list[Choice]) -> None:
        """What the answers were, for the journal."""
        made = [choice.ticket.generation for choice in choices]
        record.answer_tokens = sum(generation.tokens_made for generation in made)
        firsts = [item.submitted + item.first_token - record.started for item in made if item.first_token is not None]
        record.first_token_seconds = min(firsts, default=None)
        record.finish = "+".join(sorted({choice.finish or choice.ticket.generation.finish or "cancelled" for choice in choices}))
        record.guard = next((choice.guard.blocked for choice in choices if choice.guard.blocked), "")
        record.found = sorted(
            {*record.found, *(name for choice in choices for name in choice.guard.found - {choice.guard.blocked})}
        )
        record.answer = "\n".join(choice.text for choice in choices)


def client_of(request: Request) -> str:
    """Whom to be fair to: a key, or an address."""
    caller: Caller | None = request.scope.get(CALLER)
    return caller.id if caller else request.client.host if request.client else ""
