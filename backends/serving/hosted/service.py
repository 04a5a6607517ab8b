"""From a request to its answer, where the model is hosted: OpenAI's words become Converse's, and back."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from backends.serving.answering import Answering, Finish, client_of
from backends.serving.bodies import Chat, Completion
from backends.serving.choices import Choice
from backends.serving.hosted.contract import TurnError, about_tokens
from backends.serving.hosted.engine import HostedEngine, Question
from backends.serving.record import RECORD, Record
from backends.serving.replies import ApiError, Form
from backends.serving.stream import Attend, Stream
from llmspec.release import Release
from llmspec.spec.endpoint import Limits

NOT_ITS = (
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "n",
    "response_format",
    "logprobs",
    "top_logprobs",
)
"""Fields that Converse has no word for."""
HOTTEST = 1.0


@dataclass(frozen=True)
class Listener:
    """Whoever waits for a question's answer."""

    generation: Question


class HostedChoice(Choice):
    """An answer of a hosted model on its way to the client."""

    @property
    def question(self) -> Question:
        assert isinstance(self.ticket, Listener)
        return self.ticket.generation

    def fault(self) -> ApiError | None:
        trouble = self.question.trouble
        if trouble is None:
            return super().fault()
        return ApiError(trouble.status, trouble.message, code=trouble.code or None, retry_after=trouble.retry_after)


class HostedStream(Stream):
    """The model is first heard, then the status is said: a refusal of Bedrock's is one to the client too."""

    async def _refused(self) -> ApiError | None:
        (choice,) = self._choices
        made = choice.ticket.generation
        while not made.text and made.finish is None:
            self._news.clear()
            if not made.text and made.finish is None:
                await self._news.wait()
        return choice.fault() if made.finish else None

    def _count(self) -> None:
        super()._count()
        self._form.usage.prompt = sum(choice.ticket.generation.tokens_read for choice in self._choices)


class Hosting(Answering):
    """One release of a hosted model, answering."""

    def __init__(self, release: Release, limits: Limits, engine: HostedEngine):
        super().__init__(release, limits, engine.contract.system_prompt)
        self.engine: HostedEngine = engine
        self.contract = engine.contract

    def close(self) -> None:
        self.engine.close()

    @property
    def reads_context(self) -> bool:
        return self.contract.reads_context

    async def chat(self, request: Request, body: Chat) -> Response:
        self.expect(body.model)
        check(body)
        asked = self._asked(body)
        record: Record = request.scope[RECORD]
        record.question, record.stream, record.body = body.question, body.stream, body
        if verdict := await self.guards.check([message.plain() for message in body.messages], body.context):
            record.found = [verdict.guard]
            if verdict.blocked:
                return self._blocked(body, record, 1, verdict)
        messages = [message.plain() for message in body.messages]
        await self.guards.prepare(messages)
        form = self._form(body, record)
        self.turnstile.admit(1, self.engine.expected_wait(), client_of(request))
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        question = self.engine.submit(asked, lambda: _wake(loop, news))
        choice = HostedChoice(0, Listener(question), self.guards.listener(messages), lambda: question.end("cancelled"))
        return await self._deliver(request, body, [choice], news, form)

    async def complete(self, request: Request, body: Completion) -> Response:
        said = f"the model of '{self.release.spec}' is hosted and takes conversations only: POST /v1/chat/completions"
        raise ApiError(404, said, code="wrong_task")

    def _asked(self, body: Chat) -> dict[str, object]:
        """What Converse is asked; 400 for what it could not take."""
        if body.context is not None and not self.reads_context:
            said = "context: this product's template has no place for it (data.template: context_qa has)"
            raise ApiError(400, said, param="context")
        most, said_by_client = self.limits.output_tokens, body.model_fields_set
        try:
            asked = self.contract.request(
                self.contract.placed([message.plain() for message in body.messages], body.context),
                most if body.most is None else min(body.most, most),
                temperature=body.temperature if "temperature" in said_by_client else None,
                top_p=body.top_p if "top_p" in said_by_client else None,
                stop=tuple(body.stop),
            )
        except TurnError as error:
            raise ApiError(400, f"messages: {error}", param="messages") from error
        if (size := about_tokens(asked)) > self.limits.input_tokens:
            counted = f"about {size:,} tokens with what the product says itself (a hosted model's are taken to have four bytes)"
            said = f"the prompt has {counted}; at most {self.limits.input_tokens:,} are taken (limits.input_tokens)"
            raise ApiError(400, said, param="messages", code="context_length_exceeded")
        return asked

    def _streamed(self, choices: list[Choice], news: asyncio.Event, form: Form, attend: Attend) -> Stream:
        return HostedStream(choices, news, form, attend, self.limits.timeout)

    def _end(self, choice: Choice, finish: Finish) -> None:
        assert isinstance(choice, HostedChoice)
        choice.question.end(finish)

    def _fill(self, record: Record, choices: list[Choice]) -> None:
        """Tokens are known when Bedrock has counted them."""
        super()._fill(record, choices)
        record.prompt_tokens = sum(choice.ticket.generation.tokens_read for choice in choices)


def check(body: Chat) -> None:
    """400 that names every field which asks for something that Converse cannot give."""
    fields = type(body).model_fields
    asked = [name for name in NOT_ITS if getattr(body, name) != fields[name].get_default(call_default_factory=True)]
    if asked:
        said = f"{', '.join(asked)}: a hosted model has no such setting; leave {'it' if len(asked) == 1 else 'them'} out"
        raise ApiError(400, said, param=asked[0], code="unsupported_field")
    if body.temperature > HOTTEST:
        raise ApiError(400, f"temperature: a hosted model takes 0 to 1, and not {body.temperature:g}", param="temperature")
    if "top_p" in body.model_fields_set and body.top_p == 0:
        raise ApiError(400, "top_p: a hosted model takes more than 0", param="top_p")


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    if not loop.is_closed():  # a thread may still listen when the endpoint has ended
        loop.call_soon_threadsafe(news.set)
