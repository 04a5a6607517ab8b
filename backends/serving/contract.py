"""The contract between training and serving: how a conversation becomes text, which tokens end an answer.

Written at `features` beside the tokenizer, copied into every later artifact, and compared by its hash at each step.
Training, evaluation and the endpoint all render through this one module, so that what is served is what was trained.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from jinja2 import Template, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.serving.sealed import Sealed

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The chat form of a base from scratch; a base from elsewhere brings its own."""

CONTEXT_QA = (
    "{{ bos_token }}{% for message in messages if message.role == 'system' %}{{ message.content }}\n\n{% endfor %}"
    "{% if context %}[Context]\n{{ context }}\n\n{% endif %}"
    "{% for message in messages if message.role != 'system' %}"
    "{% if message.role == 'user' %}[Question]\n{{ message.content }}\n\n[Answer]\n"
    "{% else %}{{ message.content }}\n####{{ eos_token }}{% if not loop.last %}\n{% endif %}{% endif %}{% endfor %}"
)
"""[Context] [Question] [Answer] … ####"""


PLAIN_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'assistant' %}### Assistant:\n{{ message.content }}{{ eos_token }}\n\n"
    "{% else %}### User:\n{{ message.content }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""The chat form of a base that brings none: markers in plain text, so that its vocabulary stays as it is."""

STOP_TEXTS = {CHAT: [], CONTEXT_QA: ["\n####", "####"], PLAIN_CHAT: ["\n### User:", "### User:"]}
"""Texts that end an answer, the longer first: the line break before the mark is not part of the answer either."""


def _refuse(message: str) -> None:
    raise ValueError(f"the chat template refuses this conversation: {message}")


def with_context(messages: list[dict[str, Any]], context: str) -> list[dict[str, Any]]:
    """The context and a blank line before the last question, for a template that knows no context."""
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        return messages
    asked = messages[last] | {"content": f"{context}\n\n{messages[last]['content']}"}
    return [*messages[:last], asked, *messages[last + 1 :]]


def first_in(text: str, tokens: Iterable[str]) -> str | None:
    """The token that begins first."""
    return min((token for token in tokens if token in text), key=text.index, default=None)


@dataclass(frozen=True)
class Contract(Sealed):
    """What every stage after `features` must agree on."""

    file: ClassVar[str] = "contract.json"
    template: str
    """Jinja: messages, context, bos_token, eos_token, add_generation_prompt -> text."""
    bos_token: str
    eos_token: str
    pad_id: int
    stop_ids: list[int]
    """Any of these tokens ends an answer."""
    stop_texts: list[str]
    """Any of these texts ends an answer, and is not part of it."""
    vocab_size: int
    tokenizer: str
    """sha256 of tokenizer.json."""
    max_tokens: int
    """The longest sequence that training saw."""
    system_prompt: str | None = None

    @cached_property
    def _environment(self) -> ImmutableSandboxedEnvironment:
        # No clock among the globals: a prompt with today's date in it is another prompt tomorrow.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = lambda value, indent=None, **_: json.dumps(value, ensure_ascii=False, indent=indent)
        return environment

    @cached_property
    def _compiled(self) -> Template:
        return self._environment.from_string(self.template)

    @cached_property
    def _reads_context(self) -> bool:
        return "context" in meta.find_undeclared_variables(self._environment.parse(self.template))

    def conversation(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the system prompt before them, unless they bring their own."""
        if self.system_prompt and not any(message["role"] == "system" for message in messages):
            return [{"role": "system", "content": self.system_prompt}, *messages]
        return messages

    def render(self, messages: list[dict[str, Any]], *, context: str | None = None, answer: bool = True) -> str:
        """Text that the model continues with its answer (or, with answer=False, the whole conversation)."""
        if context and not self._reads_context:
            messages, context = with_context(messages, context), None
        return self._compiled.render(
            messages=self.conversation(messages),
            context=context,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            add_generation_prompt=answer,
        )

    @property
    def ending(self) -> str:
        """What this form writes after an answer: the trained model says it, and so stops."""
        asked, answered = {"role": "user", "content": "Are you there?"}, {"role": "assistant", "content": "Certainly."}
        _, found, after = self.render([asked, answered], answer=False).rpartition(answered["content"])
        if not found:
            raise ValueError("the chat template leaves answers out of the conversation, so nothing can be learned from it")
        return after

    def learned_ending(self, ends: Iterable[str]) -> str:
        """What follows each answer where it is learned and where it is expected: the form's ending up to its first end token, which
        it gets when it has none. `ends`: the stop tokens as text, which only a tokenizer knows."""
        after = self.ending
        end = first_in(after, ends)
        return after[: after.index(end) + len(end)] if end else after.rstrip() + self.eos_token
