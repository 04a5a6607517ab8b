"""From a request to its answer: render, admit, generate, and leave nothing behind when the client does."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from jinja2 import TemplateError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from backends.serving.access import Turnstile
from backends.serving.bodies import Chat, Completion
from backends.serving.bodies import Request as Asked
from backends.serving.door import RECORD, Record
from backends.serving.engine import Finish, PromptError
from backends.serving.pump import Pump, Ticket
from backends.serving.replies import DONE, ApiError, Form, Usage
from backends.serving.sampling import Sampling
from llmspec.release import Release
from llmspec.spec.endpoint import Limits

BODY_BYTES = 4 * 2**20
BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for."""
READING_SECONDS = 10.0
"""What a stream's client has to read the rest, when the time for its answer is up."""
LONG_TEXT = 20_000
"""Characters above which tokenizing leaves the event loop: others must not wait for it."""
Body = TypeVar("Body", bound=Asked)


class Service:
    """One release, answering."""

    def __init__(self, release: Release, limits: Limits, pump: Pump):
        self.release, self.limits, self.pump = release, limits, pump
        self.contract, self.engine = pump.engine.contract, pump.engine
        self.turnstile = Turnstile(limits)
        self.since = time.time()

    async def chat(self, request: Request, body: Chat) -> Response:
        if body.context is not None and "context" not in self.contract.template:
            raise ApiError(
                400, "context: this product's template has no place for it (data.template: context_qa has)", param="context"
            )
        try:
            text = self.contract.render([message.plain() for message in body.messages], context=body.context)
        except (TemplateError, ValueError) as error:
            raise ApiError(400, str(error), param="messages") from error
        return await self._reply(request, body, [await self._tokens(text)], body.most, body.question)

    async def complete(self, request: Request, body: Completion) -> Response:
        prompts = [await self._raw(prompt) for prompt in body.prompts]
        question = "\n".join(prompt for prompt in body.prompts if isinstance(prompt, str))
        return await self._reply(request, body, prompts, body.max_tokens, question)

    async def _raw(self, prompt: str | list[int]) -> list[int]:
        """Text is begun as every training text was; ids are taken as they are."""
        if isinstance(prompt, list):
            return prompt
        start = "" if prompt.startswith(self.contract.bos_token) else self.contract.bos_token
        return await self._tokens(start + prompt)

    async def _tokens(self, text: str) -> list[int]:
        if len(text) > LONG_TEXT:
            return await asyncio.to_thread(self.engine.encode, text)
        return self.engine.encode(text)

    def _check(self, model: str | None, prompts: list[list[int]]) -> None:
        if model is not None and model != self.release.spec:
            raise ApiError(404, f"no model '{model}' here: this is '{self.release.spec}'", param="model", code="model_not_found")
        for prompt in prompts:
            if len(prompt) > self.limits.input_tokens:
                said = (
                    f"the prompt has {len(prompt):,} tokens; at most {self.limits.input_tokens:,} are taken (limits.input_tokens)"
                )
                raise ApiError(400, said, code="context_length_exceeded")
            try:
                self.engine.check(prompt)
            except PromptError as error:
                raise ApiError(400, str(error), code="context_length_exceeded") from error

    async def _reply(self, request: Request, body: Asked, prompts: list[list[int]], most: int | None, question: str) -> Response:
        record: Record = request.scope[RECORD]
        record.question, record.stream = question, body.stream
        record.prompt_tokens = sum(map(len, prompts))
        self._check(body.model, prompts)
        sampling = Sampling(
            max_tokens=min(most or self.limits.output_tokens, self.limits.output_tokens),
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=tuple(body.stop),
        )
        form = Form(isinstance(body, Chat), record.id, int(time.time()), self.release.spec, Usage(record.prompt_tokens))
        form.id = ("chatcmpl-" if form.chat else "cmpl-") + record.id
        self.turnstile.admit(len(prompts))
        tickets = [self.pump.ask(prompt, sampling) for prompt in prompts]
        if body.stream:
            return Stream(self, tickets, form, body.stream_options.include_usage)
        async with self.attended(tickets, record, request.receive):
            answers = [await ticket.finished() for ticket in tickets]
        if any(answer.finish == "cancelled" for answer in answers):
            raise ApiError(499, "the client left")
        form.usage.answer = record.answer_tokens
        return JSONResponse(form.whole([(answer.text, str(answer.finish)) for answer in answers]))

    @contextlib.asynccontextmanager
    async def attended(self, tickets: list[Ticket], record: Record, receive: Receive) -> AsyncIterator[None]:
        """While this lasts, a client that leaves frees its slots, and time that is up ends the answer with what it has."""

        def end(finish: Finish) -> None:
            for ticket in tickets:
                self.pump.end(ticket, finish)

        async def leaving() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            end("cancelled")

        watcher = asyncio.create_task(leaving())
        timer = asyncio.get_running_loop().call_later(max(0.0, self.limits.timeout - record.seconds), end, "length")
        try:
            yield
        finally:
            timer.cancel()
            watcher.cancel()
            end("cancelled")
            self.turnstile.leave(len(tickets))
            fill(record, tickets)


def fill(record: Record, tickets: list[Ticket]) -> None:
    """What the answers were, for the journal."""
    made = [ticket.generation for ticket in tickets]
    record.answer_tokens = sum(len(generation.ids) for generation in made)
    firsts = [item.submitted + item.first_token - record.started for item in made if item.first_token is not None]
    record.first_token_seconds = min(firsts, default=None)
    record.finish = "+".join(sorted({generation.finish or "cancelled" for generation in made}))
    record.answer = "\n".join(generation.text for generation in made)


class Stream(Response):
    """An answer as server-sent events, while it is made."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, tickets: list[Ticket], form: Form, usage: bool):
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._service, self._tickets, self._form, self._usage = service, tickets, form, usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        patience = self._service.limits.timeout + READING_SECONDS
        with contextlib.suppress(TimeoutError):  # a client that reads nothing at all is let go
            async with asyncio.timeout(patience), self._service.attended(self._tickets, scope[RECORD], receive):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for piece in self._events():
                    await say(piece)
            await say(DONE, more=False)

    async def _events(self) -> AsyncIterator[bytes]:
        form = self._form
        for index, ticket in enumerate(self._tickets):
            if form.chat:
                yield form.chunk(index, first=True)
            async for text in ticket.pieces():
                yield form.chunk(index, text)
            yield form.chunk(index, finish=str(ticket.generation.finish))
            form.usage.answer += len(ticket.generation.ids)
        if self._usage:
            yield form.usage_chunk()


async def read(request: Request, choose: Callable[[dict[str, Any]], type[Body]]) -> Body:
    """The body, checked; every fault is a 400 that names its field."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await _bounded(request)
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} s") from error
    except ClientDisconnect as error:
        raise ApiError(499, "the client left") from error
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body is not a JSON object")
    try:
        return choose(value).model_validate(value)
    except ValidationError as error:
        raise _explained(error) from error


async def _bounded(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > BODY_BYTES:
            raise ApiError(413, f"the body is larger than {BODY_BYTES // 2**20} MB")
        pieces.append(piece)
    return b"".join(pieces)


def _explained(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return ApiError(
            400, f"unsupported field '{param}': this endpoint would not act on it", param=param, code="unsupported_field"
        )
    return ApiError(400, f"{param}: {first['msg']}", param=param)
