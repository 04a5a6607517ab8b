"""What clients may ask, in OpenAI's words. A field that would change nothing here is refused by its name, not ignored."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from backends.serving.neutral import Neutral, OfChat, OfCompletion, OfMessage, described, without
from backends.serving.text import HALF_SENT, has_half

LONGEST_STOP = 200
LEAST_REPETITION = 0.01
"""Logits are divided by it. Far below, they are no numbers any more, or higher than what a grammar forbids is low."""
TOKEN_ID = "[0-9]{1,9}"


def one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def stops(value: Any) -> Any:
    """A single text is judged as the field that the client wrote, not as the first of a list."""
    if isinstance(value, str) and not 1 <= len(value) <= LONGEST_STOP:
        raise ValueError(f"a text that ends the answer has 1 to {LONGEST_STOP} characters, not {len(value)}")
    return one_or_many(value)


def token_id(value: Any) -> Any:
    if isinstance(value, str) and not has_half(value) and not re.fullmatch(TOKEN_ID, value):
        raise ValueError("the names in logit_bias are token ids, as '1234'")
    return value


def parts_to_text(value: Any) -> Any:
    """OpenAI's content may be a list of parts; only text can be answered."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("only parts of type 'text' can be answered")
    return "".join(part["text"] for part in value)


def are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and 0 <= one < 2**31 for one in value)


def prompts_only(value: Any) -> Any:
    """One sentence instead of what is wrong with each of the four forms."""
    many = value if isinstance(value, list) else [value]
    if not many or not (all(isinstance(one, str) for one in many) or are_ids(many) or all(are_ids(one) for one in many)):
        raise ValueError("a prompt is text, a list of texts, a list of token ids, or a list of such lists")
    return value


def encodable(text: str) -> str:
    """JSON can spell half a character (a lone surrogate); no tokenizer can read one."""
    if has_half(text):
        raise ValueError(HALF_SENT)
    return text


Text = Annotated[str, AfterValidator(encodable)]
TextPart = dict[Literal["type", "text"], str]
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP), AfterValidator(encodable)]
TokenId = Annotated[str, BeforeValidator(token_id), Field(pattern=f"^{TOKEN_ID}$")]
Bias = dict[TokenId, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]]


Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
ManyIds = Annotated[list[Ids], Field(min_length=1)]


class Part(BaseModel):
    """A part of a body. null asks for nothing, as if the field were not there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, json_schema_extra=described)
    neutral: ClassVar[Neutral] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, value: Any) -> Any:
        return without(value, set(cls.model_fields), cls.neutral)


class Message(Part):
    """One turn of a conversation."""

    neutral: ClassVar[Neutral] = OfMessage

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is OpenAI's newer word for system."""
    content: Annotated[Text, BeforeValidator(parts_to_text, json_schema_input_type=str | list[TextPart] | None)]
    """Text, or a list of text parts. The assistant's may be null: OpenAI's own refusals have it so."""

    refusal: Text | None = None
    """Of an earlier answer that was held back, as it came. Read by the model where the answer had no other text."""

    @model_validator(mode="before")
    @classmethod
    def _the_assistant_may_say_nothing(cls, value: Any) -> Any:
        silent = isinstance(value, dict) and value.get("role") == "assistant" and value.get("content") is None
        return value | {"content": ""} if silent else value

    @model_validator(mode="after")
    def _refused_by_the_assistant(self) -> "Message":
        if self.refusal is not None and self.role != "assistant":
            raise ValueError("refusal: only in messages of the assistant")
        return self

    def plain(self) -> dict[str, str]:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content or self.refusal or ""}


class StreamOptions(Part):
    """How to stream."""

    neutral: ClassVar[Neutral] = {"include_obfuscation": [False]}

    include_usage: bool = False
    """A last chunk that counts the tokens."""


class NamedSchema(Part):
    """A JSON Schema and its name."""

    name: str = Field(min_length=1, max_length=64)
    """For the client; nothing is done with it."""
    description: str | None = None
    """Likewise."""
    schema_: dict[str, JsonValue] = Field(alias="schema")
    """What the answer will be JSON of."""
    strict: bool = True
    """The answer is always of the schema, also when this is false."""


class TextFormat(Part):
    """Any text."""

    type: Literal["text"]


class JsonObject(Part):
    """A JSON object of any form."""

    type: Literal["json_object"]


class JsonSchema(Part):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class Request(Part):
    """What both ways of asking have in common."""

    model: Text | None = None
    """The product's name, as /v1/models lists it; the one that is served when absent."""
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    """0, the default, takes the likeliest token: as the answers that passed the gates were made."""
    top_p: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    """Draw among the likeliest tokens that hold this much of the chance."""
    top_k: int = Field(default=0, ge=0)
    """Draw among so many of the likeliest tokens; 0 is all. An extension of OpenAI's, as vLLM has it."""
    min_p: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """Leave out tokens with less than this part of the likeliest one's chance. An extension, as vLLM has it."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    """Makes tokens that the answer has already less likely (below 0: likelier)."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    """Likewise, once for each time that the answer has it."""
    repetition_penalty: float = Field(default=1.0, ge=LEAST_REPETITION, le=10, allow_inf_nan=False)
    """Above 1, tokens of prompt and answer become less likely to come again. An extension, as vLLM has it."""
    logit_bias: Bias = Field(default={}, max_length=1000)
    """Token id and what is added to its logit: -100 forbids the token."""
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    """The same seed draws the same answer."""
    n: int = Field(default=1, ge=1, le=128)
    """So many answers, each drawn by itself."""
    stop: Annotated[list[Stop], BeforeValidator(stops, json_schema_input_type=Stop | list[Stop]), Field(max_length=16)] = []
    """Texts that end the answer and are not part of it."""
    response_format: TextFormat | JsonObject | JsonSchema = Field(default=TextFormat(type="text"), discriminator="type")
    """`json_object` or `json_schema`: the answer is JSON, token by token. Whole unless its finish_reason is `length`."""
    stream: bool = False
    """Server-sent events, as the tokens come."""
    stream_options: StreamOptions | None = None
    """How to stream."""
    user: str | None = None
    """Taken, as many clients send it; nothing is done with it."""

    @model_validator(mode="after")
    def _agree(self) -> "Request":
        if self.stream_options and not self.stream:
            raise ValueError("stream_options: only with stream: true")
        if self.stop and self.response_format.type != "text":
            raise ValueError("stop: not with response_format, as it would cut the JSON")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """What the answer must be JSON of."""
        asked = self.response_format
        if isinstance(asked, JsonSchema):
            return asked.json_schema.schema_
        return {"type": "object"} if isinstance(asked, JsonObject) else None


class Chat(Request):
    """POST /v1/chat/completions"""

    neutral: ClassVar[Neutral] = OfChat

    messages: list[Message] = Field(min_length=1)
    """The conversation so far; the last turn is the one to answer."""
    context: Text | None = None
    """What the answer should be drawn from, for a product with `template: context_qa`. An extension of OpenAI's."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The most tokens of answer; never more than the endpoint's own limit."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """OpenAI's newer name for max_tokens."""
    logprobs: bool = False
    """Each token's log probability, as the model gives it before sampling."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """With logprobs: so many of the likeliest tokens at each place."""

    @model_validator(mode="after")
    def _agree_on_logprobs(self) -> "Chat":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs: true")
        return self

    @model_validator(mode="after")
    def _one_bound(self) -> "Chat":
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError(f"max_tokens: max_completion_tokens says {self.max_completion_tokens}; send one of the two")
        return self

    @property
    def most(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        return self.top_logprobs or 0 if self.logprobs else None

    @property
    def question(self) -> str:
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")


class Completion(Request):
    """POST /v1/completions: the text is continued as it is, without the chat's form."""

    neutral: ClassVar[Neutral] = OfCompletion

    prompt: Annotated[Text | Ids | Annotated[list[Text], Field(min_length=1)] | ManyIds, BeforeValidator(prompts_only)]
    """Text or token ids; of several, each is answered with its own choices."""
    max_tokens: int = Field(default=16, ge=0)
    """The most tokens of answer; never more than the endpoint's own limit. 0 with echo and logprobs only scores the prompt."""
    echo: bool = False
    """Begin the text with the prompt's."""
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Each token's log probability, and so many of the likeliest beside it; with echo the prompt's tokens' too."""

    @property
    def most(self) -> int | None:
        return self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        return [list(prompt)] if isinstance(prompt[0], int) else list(prompt)

    @property
    def question(self) -> str:
        return "\n".join(prompt for prompt in self.prompts if isinstance(prompt, str))
