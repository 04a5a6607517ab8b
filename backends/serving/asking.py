"""From a body to what the engine is asked: the prompts' tokens, and how each answer's are chosen."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jinja2 import TemplateError

from backends.serving.bodies import Chat, Completion
from backends.serving.compiling import Compiler
from backends.serving.engine import Engine, PromptError
from backends.serving.grammar import Grammar, Grammars, SchemaError
from backends.serving.guards import LONG_TEXT
from backends.serving.guards.control_tokens import PromptText, Rendered
from backends.serving.replies import ApiError, named
from backends.serving.sampling import Sampling
from llmspec.spec.endpoint import Limits


@dataclass(frozen=True)
class Prompt:
    """One prompt of a request."""

    ids: list[int]
    unsaid: int = 0
    """So many of its first tokens were put there by the endpoint."""
    echo: str = ""
    """What the answer's text begins with."""


class Asking:
    """Turns bodies into prompts and sampling for one engine."""

    def __init__(self, engine: Engine, limits: Limits):
        self._engine, self._limits = engine, limits
        self._text = PromptText(engine.contract, engine.tokenizer)
        self._grammars: asyncio.Task[Grammars] | None = None
        self._compiler = Compiler(limits)

    def close(self) -> None:
        self._compiler.close()

    async def grammars(self) -> Grammars:
        """Made when first needed: it reads the whole vocabulary, and most products never do."""
        if self._grammars is None:
            self._grammars = asyncio.create_task(asyncio.to_thread(self._make_grammars))
        return await asyncio.shield(self._grammars)  # whoever asked first may leave: others want it too

    def _make_grammars(self) -> Grammars:
        engine = self._engine
        return Grammars(engine.tokenizer.to_str(), engine.decoder.vocab_size, engine.contract.stop_ids)

    async def chat(self, body: Chat) -> list[Prompt]:
        contract = self._engine.contract
        if body.context is not None and "context" not in contract.template:
            said = "context: this product's template has no place for it (data.template: context_qa has)"
            raise ApiError(400, said, param="context")
        messages = [message.plain() for message in body.messages]
        letters = sum(len(message["content"]) for message in messages) + len(body.context or "")
        try:
            ids = await self._tokens(letters, partial(self._text.render, messages, body.context))
        except (TemplateError, ValueError) as error:
            raise ApiError(400, str(error), param="messages") from error
        return [self._checked(Prompt(ids), "messages")]

    async def completion(self, body: Completion) -> list[Prompt]:
        found = [self._checked(await self._raw(prompt), "prompt") for prompt in body.prompts]
        return [self._echoing(*pair) for pair in zip(found, body.prompts, strict=True)] if body.echo else found

    def _echoing(self, prompt: Prompt, asked: str | list[int]) -> Prompt:
        text = asked if isinstance(asked, str) else self._engine.tokenizer.decode(asked, skip_special_tokens=False)
        return replace(prompt, echo=text)

    async def _raw(self, prompt: str | list[int]) -> Prompt:
        """Text is begun as every training text was; ids are taken as they are."""
        if isinstance(prompt, list):
            return Prompt(prompt)
        start = self._engine.contract.bos_token
        unsaid = int(bool(start) and not prompt.startswith(start))
        return Prompt(await self._tokens(len(prompt), partial(self._text.raw, prompt)), unsaid=unsaid)

    async def _tokens(self, letters: int, rendered: Callable[[], Rendered]) -> list[int]:
        if letters > LONG_TEXT:
            return await asyncio.to_thread(lambda: self._text.encode(rendered()))
        return self._text.encode(rendered())

    def _checked(self, prompt: Prompt, param: str) -> Prompt:
        most = self._limits.input_tokens
        if len(prompt.ids) > most:
            said = f"the prompt has {len(prompt.ids):,} tokens; at most {most:,} are taken (limits.input_tokens)"
            raise ApiError(400, said, param=param, code="context_length_exceeded")
        try:
            self._engine.check(prompt.ids)
        except PromptError as error:
            long = len(prompt.ids) >= self._engine.max_len
            raise ApiError(400, str(error), param=param, code="context_length_exceeded" if long else None) from error
        return prompt

    def sampling(self, body: Chat | Completion) -> Sampling:
        """All but the grammar, which takes time."""
        most = self._limits.output_tokens
        return Sampling(
            max_tokens=most if body.most is None else min(body.most, most),
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            repetition_penalty=body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            logit_bias=self._bias(body.logit_bias),
            seed=body.seed,
            stop=tuple(body.stop),
            logprobs=body.num_logprobs,
            prompt_logprobs=body.num_logprobs if isinstance(body, Completion) and body.echo else None,
        )

    def _bias(self, asked: dict[str, float]) -> tuple[tuple[int, float], ...]:
        size = self._engine.decoder.vocab_size
        for token in asked:
            if int(token) >= size:
                raise ApiError(400, f"logit_bias: no token {token} in this vocabulary of {size:,}", param="logit_bias")
        return tuple((int(token), value) for token, value in asked.items())

    async def grammar(self, body: Chat | Completion, client: str) -> Grammar | None:
        """What the answer must be, when its client's turn to have a schema compiled has come."""
        schema = body.schema_of_answer
        if schema is None:
            return None
        grammars = await self.grammars()
        try:
            return grammars.known(schema) or await self._compiler.grammar(partial(grammars.json_schema, schema), client)
        except SchemaError as error:
            param = "response_format.json_schema.schema" + (f".{named(error.place)}" if error.place else "")
            raise ApiError(400, f"{param}: {error.fault}", param=param, code="invalid_schema") from error
