"""Answers and errors in OpenAI's form, whole or as server-sent events."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from starlette.responses import JSONResponse

KINDS = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}
LONGEST_NAME = 200
"""Characters of a client's word that are said back."""


def named(word: object, most: int = LONGEST_NAME) -> str:
    """A client's own word as it may be said back: in characters that can be printed, and not all of a long one."""
    text = str(word)
    text = text[:most] + "…" if len(text) > most else text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


compact = json.JSONEncoder(separators=(",", ":")).encode
"""In ASCII: a lone surrogate or a line separator in a text must not break a stream."""


class ApiError(Exception):
    """What a client is told when it cannot be answered."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: int | None = None
    ):
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after
        super().__init__(message)

    def json(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        headers |= {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(self.json(), self.status, headers)


def time_up() -> ApiError:
    return ApiError(429, "its time was up before its turn came", code="queue_full", retry_after=1)


@dataclass
class Usage:
    """Tokens in and out of one request."""

    prompt: int = 0
    answer: int = 0

    def json(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": self.answer, "total_tokens": self.prompt + self.answer}


@dataclass
class Piece:
    """What is new of one choice."""

    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    """In the form of the chat or of completions."""
    finish: str | None = None
    """Why it ended; nothing follows."""
    refusal: str | None = None
    """What the client is told when a guard ended it."""


@dataclass
class Form:
    """One of the two shapes of an answer."""

    chat: bool
    id: str
    created: int
    model: str
    usage: Usage = field(default_factory=Usage)
    counted: bool = False
    """Whether a stream ends with its usage: then every chunk has the field."""

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    @cached_property
    def _head(self) -> str:
        """What every chunk of a stream begins with."""
        return compact(self._envelope("chat.completion.chunk" if self.chat else "text_completion"))[:-1] + ',"choices":'

    def whole(self, answers: list[Piece]) -> dict[str, Any]:
        kind = "chat.completion" if self.chat else "text_completion"
        choices = [
            {"index": answer.index, **self._said(answer), "logprobs": answer.logprobs, "finish_reason": answer.finish}
            for answer in answers
        ]
        return self._envelope(kind) | {"choices": choices, "usage": self.usage.json()}

    def _said(self, answer: Piece) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
        return {"message": message} if self.chat else {"text": answer.text}

    def opening(self, index: int) -> bytes:
        """A chat's stream begins with who speaks."""
        return self._chunk(_choice(index, '"delta":{"role":"assistant","content":"","refusal":null}'))

    def chunks(self, piece: Piece) -> bytes:
        """The piece; the reason for the end comes alone and last."""
        said = b""
        if piece.text or piece.logprobs:
            words = f'"delta":{{"content":{compact(piece.text)}}}' if self.chat else f'"text":{compact(piece.text)}'
            said = self._chunk(_choice(piece.index, words, piece.logprobs))
        if piece.refusal and self.chat:
            said += self._chunk(_choice(piece.index, f'"delta":{{"refusal":{compact(piece.refusal)}}}'))
        if piece.finish:
            said += self._chunk(_choice(piece.index, '"delta":{}' if self.chat else '"text":""', None, piece.finish))
        return said

    def usage_chunk(self) -> bytes:
        return self._chunk("", compact(self.usage.json()))

    def _chunk(self, choice: str, usage: str = "null") -> bytes:
        counted = f',"usage":{usage}' if self.counted else ""
        return f"data: {self._head}[{choice}]{counted}}}\n\n".encode()


def _choice(index: int, words: str, logprobs: dict[str, Any] | None = None, finish: str | None = None) -> str:
    """Written by hand: one is made for every token of everybody, while the cores are wanted for the next ones."""
    listed, ended = compact(logprobs) if logprobs else "null", f'"{finish}"' if finish else "null"
    return f'{{"index":{index},{words},"logprobs":{listed},"finish_reason":{ended}}}'


def event(data: dict[str, Any]) -> bytes:
    return f"data: {compact(data)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
