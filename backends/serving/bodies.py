"""What clients may ask, in OpenAI's words. A field that would change nothing here is refused by its name, not ignored."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NEUTRAL: dict[str, list[Any]] = {
    "n": [1],
    "best_of": [1],
    "echo": [False],
    "logprobs": [False],
    "frequency_penalty": [0],
    "presence_penalty": [0],
    "logit_bias": [{}],
    "tools": [[]],
    "response_format": [{"type": "text"}],
    "store": [False],
    "parallel_tool_calls": [True],
    "service_tier": ["auto", "default"],
    "modalities": [["text"]],
    "suffix": [""],
}
"""Values that ask for what happens anyway. Clients send them unasked, so they are let through; other values are not."""


def one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def parts_to_text(value: Any) -> Any:
    """OpenAI's content may be a list of parts; only text can be answered."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("only parts of type 'text' can be answered")
    return "".join(part["text"] for part in value)


def encodable(text: str) -> str:
    """JSON can spell half a character (a lone surrogate); no tokenizer can read one."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("half a character (a lone surrogate) is no text") from error
    return text


Text = Annotated[str, AfterValidator(encodable)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Part):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is OpenAI's newer word for system."""
    content: Annotated[Text, BeforeValidator(parts_to_text)]
    """Text, or a list of text parts."""

    def plain(self) -> dict[str, str]:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class StreamOptions(Part):
    """How to stream."""

    include_usage: bool = False
    """A last chunk that counts the tokens."""


class Request(Part):
    """What both ways of asking have in common."""

    model: str | None = None
    """The product's name, as /v1/models lists it; the one that is served when absent."""
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    """0, the default, takes the likeliest token: as the answers that passed the gates were made."""
    top_p: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    """Draw among the likeliest tokens that hold this much of the chance."""
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    """The same seed draws the same answer."""
    stop: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=200)]], BeforeValidator(one_or_many), Field(max_length=16)
    ] = []
    """Texts that end the answer and are not part of it."""
    stream: bool = False
    """Server-sent events, as the tokens come."""
    stream_options: StreamOptions = StreamOptions()
    """How to stream."""
    user: str | None = None
    """Taken, as many clients send it; nothing is done with it."""

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = cls.model_fields
        return {
            name: item for name, item in value.items() if item is not None and (name in known or item not in NEUTRAL.get(name, []))
        }


class Chat(Request):
    """POST /v1/chat/completions"""

    messages: list[Message] = Field(min_length=1)
    """The conversation so far; the last turn is the one to answer."""
    context: Text | None = None
    """What the answer should be drawn from, for a product with `template: context_qa`. An extension of OpenAI's."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The most tokens of answer; never more than the endpoint's own limit."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """OpenAI's newer name for max_tokens."""

    @property
    def most(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def question(self) -> str:
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")


class Completion(Request):
    """POST /v1/completions: the text is continued as it is, without the chat's form."""

    prompt: Text | list[int] | list[Text] | list[list[int]] = Field(min_length=1)
    """Text or token ids; of several, each is answered with its own choice."""
    max_tokens: int = Field(default=16, ge=1)
    """The most tokens of answer; never more than the endpoint's own limit."""

    @property
    def prompts(self) -> list[str | list[int]]:
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        return [list(prompt)] if isinstance(prompt[0], int) else list(prompt)
