"""Answers and errors in OpenAI's form, whole or as server-sent events."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

KINDS = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """What a client is told when it cannot be answered."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: int | None = None
    ):
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after
        super().__init__(message)

    def response(self) -> JSONResponse:
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else None
        return JSONResponse({"error": error}, self.status, headers)


@dataclass
class Usage:
    """Tokens in and out of one request."""

    prompt: int = 0
    answer: int = 0

    def json(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": self.answer, "total_tokens": self.prompt + self.answer}


@dataclass
class Form:
    """One of the two shapes of an answer."""

    chat: bool
    id: str
    created: int
    model: str
    usage: Usage = field(default_factory=Usage)

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def whole(self, answers: list[tuple[str, str]]) -> dict[str, Any]:
        """answers: text and finish_reason of each choice."""
        kind = "chat.completion" if self.chat else "text_completion"
        choices = [
            {"index": index, **self._said(text), "logprobs": None, "finish_reason": finish}
            for index, (text, finish) in enumerate(answers)
        ]
        return self._envelope(kind, choices) | {"usage": self.usage.json()}

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}

    def chunk(self, index: int, text: str = "", *, first: bool = False, finish: str | None = None) -> bytes:
        """One piece of a stream: the role first, the reason for the end last."""
        if self.chat:
            delta = {"role": "assistant", "content": ""} if first else {} if finish else {"content": text}
            choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        else:
            choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
        return event(self._envelope("chat.completion.chunk" if self.chat else "text_completion", [choice]))

    def usage_chunk(self) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event(self._envelope(kind, []) | {"usage": self.usage.json()})


def event(data: dict[str, Any]) -> bytes:
    # Escaped to ASCII: a lone surrogate or a line separator in the text must not break the stream.
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
Pieces = AsyncIterator[bytes]
