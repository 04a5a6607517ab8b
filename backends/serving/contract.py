"""The contract between training and serving: how a conversation becomes text, which tokens end an answer.

Written at `features` beside the tokenizer, copied into every later artifact, and compared by its hash at each step.
Training, evaluation and the endpoint all render through this one module, so that what is served is what was trained.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmspec.job import digest_of

NAME = "contract.json"

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The chat form of a base from scratch; a base from elsewhere brings its own."""

CONTEXT_QA = (
    "{{ bos_token }}{% for message in messages if message.role == 'system' %}{{ message.content }}\n\n{% endfor %}"
    "{% if context %}[Context]\n{{ context }}\n\n{% endif %}"
    "{% for message in messages if message.role != 'system' %}{% if message.role == 'user' %}[Question]\n{{ message.content }}\n\n[Answer]\n"
    "{% else %}{{ message.content }}\n####{{ eos_token }}{% if not loop.last %}\n{% endif %}{% endif %}{% endfor %}"
)
"""[Context] [Question] [Answer] … ####"""


def _refuse(message: str) -> None:
    raise ValueError(f"the chat template refuses this conversation: {message}")


@dataclass(frozen=True)
class Contract:
    """What every stage after `features` must agree on."""

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

    @property
    def hash(self) -> str:
        return digest_of(asdict(self))

    @cached_property
    def _compiled(self) -> Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        return environment.from_string(self.template)

    def conversation(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the system prompt before them, unless they bring their own."""
        if self.system_prompt and not any(message["role"] == "system" for message in messages):
            return [{"role": "system", "content": self.system_prompt}, *messages]
        return messages

    def render(self, messages: list[dict[str, Any]], *, context: str | None = None, answer: bool = True) -> str:
        """Text that the model continues with its answer (or, with answer=False, the whole conversation)."""
        return self._compiled.render(
            messages=self.conversation(messages),
            context=context,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            add_generation_prompt=answer,
        )

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self) | {"hash": self.hash}, indent=1, ensure_ascii=False, sort_keys=True)
        (folder / NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Contract":
        fields = json.loads((folder / NAME).read_text(encoding="utf-8"))
        said = fields.pop("hash")
        contract = cls(**fields)
        if contract.hash != said:
            raise ValueError(f"{folder / NAME} was edited by hand: its hash is not that of its content")
        return contract
