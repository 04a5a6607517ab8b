"""The question that a release is asked before it is said to be live, and what of the answer shows that it is a whole one."""

import json
from collections.abc import Iterable

from llmspec.errors import PlaceError

PATH = "/v1/chat/completions"


def question(stream: bool = False) -> bytes:
    """The smallest thing that goes all the way through tokenizer, model and answer."""
    return json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "stream": stream}).encode()


def answered(status: int, lines: Iterable[bytes], stream: bool, who: str) -> None:
    """PlaceError unless it is a whole answer, streamed or not."""
    content = b"".join(lines)
    if status != 200:
        raise PlaceError(f"asked a question, {who} says {status}: {content[:400].decode(errors='replace')}")
    if stream and b"data: [DONE]" not in content:
        raise PlaceError(f"asked a question, {who} broke off its streamed answer: …{content[-200:].decode(errors='replace')}")
    if not stream and b'"choices"' not in content:
        raise PlaceError(f"asked a question, {who} gave no answer: {content[:200].decode(errors='replace')}")
