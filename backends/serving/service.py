"""From a request to its answer: admit, generate, and leave nothing behind when the client does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from backends.serving.access import Turnstile
from backends.serving.asking import Asking, Prompt
from backends.serving.bodies import Chat, Completion
from backends.serving.choices import Choice, answers
from backends.serving.door import RECORD, Record
from backends.serving.engine import Finish
from backends.serving.guards import CONTENT_FILTER, Guards, Verdict, refusal
from backends.serving.keys import CALLER, Caller
from backends.serving.logprobs import ChatListing, Listing, Reach, TextListing, Words
from backends.serving.pump import Pump, Ticket
from backends.serving.replies import ApiError, Form, Piece, Usage
from backends.serving.sampling import Sampling
from backends.serving.stream import Blocked, Stream
from llmspec.release import Release
from llmspec.spec.endpoint import Endpoint, Limits


class Service:
    """One release, answering."""

    def __init__(self, release: Release, limits: Limits, pump: Pump):
        self.release, self.limits, self.pump = release, limits, pump
        self.contract, self.engine = pump.engine.contract, pump.engine
        self.asking = Asking(self.engine, limits)
        self.guards = Guards(Endpoint.model_validate(release.serving).guards, self.contract.system_prompt)
        self.turnstile = Turnstile(limits)
        self.since = time.time()
        self._under_way: set[Callable[[Finish], None]] = set()

    def close(self) -> None:
        self.pump.close()

    def hurry(self) -> None:
        """Answers under way end with what they have, as at the time limit: there is no time for more."""
        for end in list(self._under_way):
            end("length")

    async def chat(self, request: Request, body: Chat) -> Response:
        self.expect(body.model)
        return await self._reply(request, body, await self.asking.chat(body))

    async def complete(self, request: Request, body: Completion) -> Response:
        self.expect(body.model)
        return await self._reply(request, body, await self.asking.completion(body))

    def model(self) -> dict[str, str | int]:
        """What is served, as /v1/models lists it."""
        return {"id": self.release.spec, "object": "model", "created": int(self.since), "owned_by": "llmspec"}

    def expect(self, model: str | None) -> None:
        """Refuse another model's name."""
        if model is not None and model != self.release.spec:
            raise ApiError(404, f"no model '{model}' here: this is '{self.release.spec}'", param="model", code="model_not_found")

    async def _reply(self, request: Request, body: Chat | Completion, prompts: list[Prompt]) -> Response:
        record: Record = request.scope[RECORD]
        record.question, record.stream, record.body = body.question, body.stream, body
        record.prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        if verdict := await self._verdict(body, prompts):
            record.found = [verdict.guard]
            if verdict.blocked:
                return self._blocked(body, record, len(prompts), verdict)
        samplings = await self.asking.sampling(body)
        words = await self.asking.grammars() if samplings[0].logprobs is not None else None
        form = self._form(body, record)
        self._admit(len(prompts), len(samplings))
        news = asyncio.Event()
        choices = self._choices(request, body, prompts, samplings, words, news)
        record.made = [choice.ticket.generation for choice in choices]

        def attend(receive: Receive) -> contextlib.AbstractAsyncContextManager[None]:
            return self._attended(choices, record, receive)

        if body.stream:
            return Stream(choices, news, form, attend, self.limits.timeout)
        async with attend(request.receive):
            made = await answers(choices, news)
        if any(answer.finish == "cancelled" for answer in made):
            raise ApiError(499, "the client left")
        if fault := next(filter(None, (choice.fault() for choice in choices)), None):
            raise fault
        form.usage.answer = record.answer_tokens
        return JSONResponse(form.whole(made))

    async def _verdict(self, body: Chat | Completion, prompts: list[Prompt]) -> Verdict | None:
        """What the guards say of the request; asked when its length is known to be taken."""
        if isinstance(body, Chat):
            return await self.guards.check([message.plain() for message in body.messages], body.context)
        read = zip(body.prompts, prompts, strict=True)
        texts = [asked if isinstance(asked, str) else self.engine.tokenizer.decode(prompt.ids) for asked, prompt in read]
        return await self.guards.check_texts(texts)

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

    def _admit(self, prompts: int, each: int) -> None:
        most = self.limits.concurrency + self.limits.queue
        if prompts * each > most and each > 1:
            raise ApiError(400, f"n: {prompts * each} answers in one request, and at most {most} are given", param="n")
        self.turnstile.admit(prompts * each, self.engine.expected_wait())

    def _choices(
        self,
        request: Request,
        body: Chat | Completion,
        prompts: list[Prompt],
        samplings: list[Sampling],
        words: Words | None,
        news: asyncio.Event,
    ) -> list[Choice]:
        """Every prompt with each of its samplings, in OpenAI's order; `news` wakes the reader of all."""
        messages = [message.plain() for message in body.messages] if isinstance(body, Chat) else []
        found: list[Choice] = []
        for prompt in prompts:
            for sampling in samplings:
                ticket = self.pump.ask(prompt.ids, sampling, news, _client(request))
                end = partial(self.pump.end, ticket)
                listing = _listing(ticket, words, body, prompt.unsaid) if words else None
                found.append(Choice(len(found), ticket, self.guards.listener(messages), end, listing, prompt.echo))
        return found

    @contextlib.asynccontextmanager
    async def _attended(self, choices: list[Choice], record: Record, receive: Receive) -> AsyncIterator[None]:
        """While this lasts, a client that leaves frees its slots, and time that is up ends the answer with what it has."""

        def end(finish: Finish) -> None:
            for choice in choices:
                self.pump.end(choice.ticket, finish)

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
            self.turnstile.leave(len(choices))
            fill(record, choices)


def _client(request: Request) -> str:
    """Whom to be fair to: a key, or an address."""
    caller: Caller | None = request.scope.get(CALLER)
    return caller.id if caller else request.client.host if request.client else ""


def _listing(ticket: Ticket, words: Words, body: Chat | Completion, unsaid: int) -> tuple[Listing, Reach]:
    chooser = ticket.generation.chooser
    listing = ChatListing(chooser, words) if isinstance(body, Chat) else TextListing(chooser, words, unsaid)
    return listing, Reach(chooser, words)


def fill(record: Record, choices: list[Choice]) -> None:
    """What the answers were, for the journal."""
    made = [choice.ticket.generation for choice in choices]
    record.answer_tokens = sum(len(generation.ids) for generation in made)
    firsts = [item.submitted + item.first_token - record.started for item in made if item.first_token is not None]
    record.first_token_seconds = min(firsts, default=None)
    record.finish = "+".join(sorted({choice.finish or choice.ticket.generation.finish or "cancelled" for choice in choices}))
    record.guard = next((choice.guard.blocked for choice in choices if choice.guard.blocked), "")
    record.found = sorted({*record.found, *(name for choice in choices for name in choice.guard.found - {choice.guard.blocked})})
    record.answer = "\n".join(choice.text for choice in choices)
