"""From a request to its answer, where the model is ours: tokens in, tokens out, each chosen as the request wants it."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from backends.serving.answering import Answering, client_of
from backends.serving.asking import Asking, Prompt
from backends.serving.bodies import Chat, Completion
from backends.serving.choices import Choice
from backends.serving.engine import Engine, Finish
from backends.serving.grammar import Grammar
from backends.serving.guards import Verdict
from backends.serving.logprobs import ChatListing, Listing, Reach, TextListing, Words
from backends.serving.patience import waited
from backends.serving.pump import Pump, Ticket
from backends.serving.record import RECORD, Record
from backends.serving.replies import time_up
from backends.serving.sampling import Sampling
from llmspec.release import Release
from llmspec.spec.endpoint import Limits


class Service(Answering):
    """One release of a model of ours, answering."""

    def __init__(self, release: Release, limits: Limits, pump: Pump):
        super().__init__(release, limits, pump.engine.contract.system_prompt)
        self.engine: Engine = pump.engine
        self.pump, self.contract = pump, pump.engine.contract
        self.asking = Asking(self.engine, limits)

    def close(self) -> None:
        self.asking.close()
        self.pump.close()

    @property
    def reads_context(self) -> bool:
        return "context" in self.contract.template

    def _end(self, choice: Choice, finish: Finish) -> None:
        assert isinstance(choice.ticket, Ticket)
        self.pump.end(choice.ticket, finish)

    async def chat(self, request: Request, body: Chat) -> Response:
        self.expect(body.model)
        self.turnstile.expect(body.n, "answers", "n")
        return await self._reply(request, body, await self.asking.chat(body))

    async def complete(self, request: Request, body: Completion) -> Response:
        self.expect(body.model)
        self.turnstile.expect(len(body.prompts) * body.n, "answers", "n")
        return await self._reply(request, body, await self.asking.completion(body))

    async def _reply(self, request: Request, body: Chat | Completion, prompts: list[Prompt]) -> Response:
        record: Record = request.scope[RECORD]
        record.question, record.stream, record.body = body.question, body.stream, body
        record.prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        if verdict := await self._verdict(body, prompts):
            record.found = [verdict.guard]
            if verdict.blocked:
                return self._blocked(body, record, len(prompts), verdict)
        sampling, form, client = self.asking.sampling(body), self._form(body, record), client_of(request)
        self.turnstile.admit(len(prompts) * body.n, self.engine.expected_wait(client), client)
        news = asyncio.Event()
        with ExitStack() as places:
            places.callback(self.turnstile.leave, len(prompts) * body.n, client)
            grammar, words = await self._prepared(request, body, client)
            if isinstance(body, Chat):
                await self.guards.prepare([message.plain() for message in body.messages])
            samplings = [replace(sampling, grammar=grammar, choice=choice) for choice in range(body.n)]
            choices = self._choices(request, body, prompts, samplings, words, news)
            places.pop_all()  # from here on its answers give them back
        return await self._deliver(request, body, choices, news, form)

    async def _prepared(self, request: Request, body: Chat | Completion, client: str) -> tuple[Grammar | None, Words | None]:
        """What its answers need and what may take long; it waits for that in its place, as for its turn."""
        if body.schema_of_answer is None and body.num_logprobs is None:
            return None, None

        async def made() -> tuple[Grammar | None, Words | None]:
            words = await self.asking.grammars() if body.num_logprobs is not None else None
            return await self.asking.grammar(body, client), words

        record: Record = request.scope[RECORD]
        try:
            return await waited(request, made(), self.limits.timeout - record.seconds)
        except TimeoutError as error:
            raise time_up() from error

    async def _verdict(self, body: Chat | Completion, prompts: list[Prompt]) -> Verdict | None:
        """What the guards say of the request; asked when its length is known to be taken."""
        if isinstance(body, Chat):
            return await self.guards.check([message.plain() for message in body.messages], body.context)
        read = zip(body.prompts, prompts, strict=True)
        texts = [asked if isinstance(asked, str) else self.engine.tokenizer.decode(prompt.ids) for asked, prompt in read]
        return await self.guards.check_texts(texts)

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
        json = body.schema_of_answer is not None
        found: list[Choice] = []
        for prompt in prompts:
            for sampling in samplings:
                ticket = self.pump.ask(prompt.ids, sampling, news, client_of(request))
                end = partial(self.pump.end, ticket)
                listing = _listing(ticket, words, body, prompt.unsaid) if words else None
                found.append(Choice(len(found), ticket, self.guards.listener(messages, json), end, listing, prompt.echo))
        return found


def _listing(ticket: Ticket, words: Words, body: Chat | Completion, unsaid: int) -> tuple[Listing, Reach]:
    chooser = ticket.generation.chooser
    listing = ChatListing(chooser, words) if isinstance(body, Chat) else TextListing(chooser, words, unsaid)
    return listing, Reach(chooser, words)
