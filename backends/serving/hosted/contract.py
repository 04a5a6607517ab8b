"""What is agreed on with a hosted model: which one it is, and how a conversation becomes a request.

Written at `features` and `model`, bound together at `onnx`, and used by evaluation and endpoint alike: what is served is what
was evaluated.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from backends.serving.sealed import Sealed

MODEL = "hosted.json"
BYTES_PER_TOKEN = 4
"""Of text, about: nobody but the model itself can count its tokens, and it does so only when it is asked and paid."""
Message = dict[str, Any]


class TurnError(ValueError):
    """A conversation that a hosted model cannot be asked."""


@dataclass(frozen=True)
class HostedModel:
    """Which model it is, as Bedrock said itself."""

    id: str
    """What is asked for: a model, or an inference profile."""
    arn: str
    region: str
    name: str
    provider: str
    reaches: list[str] = field(default_factory=list)
    """ARNs of the models that a profile passes questions on to."""

    def save(self, folder: Path) -> None:
        (folder / MODEL).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "HostedModel":
        return cls(**json.loads((folder / MODEL).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class HostedContract(Sealed):
    """How it is asked."""

    file: ClassVar[str] = "contract.json"
    template: Literal["chat", "context_qa"]
    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `data` that are said before each question, as if they had been asked and answered."""

    @property
    def reads_context(self) -> bool:
        """Whether the form has a place for a request's context."""
        return self.template == "context_qa"

    def conversation(self, row: dict[str, Any]) -> list[Message]:
        """A row of `data` as a user would ask it."""
        return self.placed([{"role": "user", "content": row["question"]}], row.get("context"))

    def placed(self, messages: list[Message], context: str | None) -> list[Message]:
        """The conversation with the context in its last question, and in the form of the template."""
        last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
        if last is None:
            return messages
        asked = messages[last]["content"]
        if self.template == "context_qa":
            asked = (f"[Context]\n{context}\n\n" if context else "") + f"[Question]\n{asked}"
        elif context:
            asked = f"{context}\n\n{asked}"
        return [*messages[:last], messages[last] | {"content": asked}, *messages[last + 1 :]]

    def request(
        self,
        messages: list[Message],
        max_tokens: int,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """What Converse is sent; TurnError for what it could not take. A caller's own system messages replace the product's."""
        first = next((place for place, message in enumerate(messages) if message["role"] != "system"), len(messages))
        own, turns = [message["content"] for message in messages[:first]], messages[first:]
        if any(message["role"] == "system" for message in turns):
            raise TurnError("a system message after the first question: a hosted model takes them before it only")
        system = own or ([self.system_prompt] if self.system_prompt else [])
        shown = [message for row in self.examples for message in self._example(row)]
        wanted = {
            "maxTokens": max_tokens,
            "temperature": self.temperature if temperature is None else temperature,
            "topP": self.top_p if top_p is None else top_p,
            "stopSequences": list(stop) or None,
        }
        request: dict[str, Any] = {"messages": turns_of([*shown, *turns])}
        request |= {"system": [{"text": text} for text in system]} if system else {}
        return request | {"inferenceConfig": {name: value for name, value in wanted.items() if value is not None}}

    def _example(self, row: dict[str, Any]) -> list[Message]:
        return [*self.conversation(row), {"role": "assistant", "content": row["answer"]}]


def turns_of(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """By turns of user and assistant, as Converse wants them: what one side says twice in a row is one turn of two texts."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if not message["content"].strip():
            raise TurnError("an empty message: a hosted model takes none")
        block = {"text": message["content"]}
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"].append(block)
        else:
            turns.append({"role": message["role"], "content": [block]})
    if not turns or turns[0]["role"] != "user":
        raise TurnError("a conversation that a user begins is all that a hosted model takes")
    return turns


def about_tokens(request: dict[str, Any]) -> int:
    """How long a request is: its text in bytes, as tokens."""
    blocks = [*request.get("system", []), *(block for turn in request["messages"] for block in turn["content"])]
    return -(-sum(len(block["text"].encode()) for block in blocks) // BYTES_PER_TOKEN)
