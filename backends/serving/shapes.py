"""What answers look like, for the API's description. Tests hold the answers against it."""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

documented = with_config(ConfigDict(use_attribute_docstrings=True, extra="forbid"))
Finish = Literal["stop", "length", "content_filter"]


@documented
class Fault(TypedDict):
    """What is wrong."""

    message: str
    """Place, fault and cure."""
    type: str
    """`invalid_request_error`, `rate_limit_error`, `server_error` …"""
    param: str | None
    """The field of the request."""
    code: str | None
    """A word for programs: `unsupported_field`, `invalid_schema`, `context_length_exceeded`, `model_not_found` …"""


@documented
class Error(TypedDict):
    """A refusal or a failure, in OpenAI's form."""

    error: Fault


@documented
class Usage(TypedDict):
    """Tokens counted as the model reads and makes them; one that ends an answer counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@documented
class Likely(TypedDict):
    """A token and its log probability."""

    token: str
    logprob: float
    """As the model gives it: before temperature, penalties, bias and grammar."""
    bytes: list[int]
    """A token may be part of a character only."""


@documented
class TokenLogprob(Likely):
    """A token of the answer."""

    top_logprobs: list[Likely]
    """The likeliest at this place."""


@documented
class ChatLogprobs(TypedDict):
    """Every token of the answer, also the one that ended it."""

    content: list[TokenLogprob]
    refusal: None


@documented
class Said(TypedDict):
    """What the model says."""

    role: Literal["assistant"]
    content: str
    refusal: None


@documented
class ChatChoice(TypedDict):
    """One answer."""

    index: int
    message: Said
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    """`stop`: it came to its end, or to a stop text. `length`: cut by max_tokens or by time; JSON that is cut is not whole."""


@documented
class ChatAnswer(TypedDict):
    """The answer of a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


@documented
class Delta(TypedDict):
    """What is new: the role first, then text."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    refusal: NotRequired[None]


@documented
class ChatChunkChoice(TypedDict):
    """What is new of one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None


@documented
class ChatChunk(TypedDict):
    """One event of a stream: `data: {…}`. The stream ends with `data: [DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]
    """With stream_options.include_usage: null but in the last chunk, which has no choices."""


@documented
class TextLogprobs(TypedDict):
    """The prompt's tokens (with echo) and the answer's, one list for each thing known of them."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Where in `text` the token begins."""


@documented
class TextChoice(TypedDict):
    """One answer, or what is new of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Finish | None
    """null in a stream's chunks but the last."""


@documented
class TextAnswer(TypedDict):
    """A text's continuation; in a stream also one event of it."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: NotRequired[Usage | None]


@documented
class Read(TypedDict):
    """What was read to classify."""

    prompt_tokens: int
    total_tokens: int


@documented
class Class(TypedDict):
    """What one text is."""

    index: int
    label: str
    """The likeliest."""
    scores: dict[str, float]
    """Each label's chance."""
    labels: NotRequired[list[str]]
    """Where several may hold at once: those that do."""


@documented
class Classes(TypedDict):
    """What each text is, in the order of the texts."""

    object: Literal["list"]
    model: str
    data: list[Class]
    usage: Read


@documented
class Model(TypedDict):
    """What is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


@documented
class Models(TypedDict):
    """All that is served: one."""

    object: Literal["list"]
    data: list[Model]


ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": ChatAnswer,
    "/v1/completions": TextAnswer,
    "/invocations": ChatAnswer | TextAnswer,
    "/v1/classify": Classes,
    "/v1/models": Models,
    "/v1/models/{name}": Model,
}
STREAMS: dict[str, Any] = {
    "/v1/chat/completions": ChatChunk,
    "/v1/completions": TextAnswer,
    "/invocations": ChatChunk | TextAnswer,
}
