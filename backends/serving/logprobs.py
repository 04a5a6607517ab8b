"""Log probabilities as clients read them: OpenAI has one form for the chat and another for completions."""

import codecs
from typing import Any, Protocol

from backends.serving.chooser import Chooser
from backends.serving.sampling import Scored

LOWEST = -9999.0
"""JSON has no word for minus infinity."""


class Words(Protocol):
    """What tokens stand for."""

    def bytes_of(self, token: int) -> bytes: ...
    def is_control(self, token: int) -> bool: ...


class ChatListing:
    """An answer's tokens as `choices[].logprobs` of the chat."""

    def __init__(self, chooser: Chooser, words: Words):
        self._chooser, self._words, self._given = chooser, words, 0

    def take(self, most: int | None = None) -> dict[str, Any] | None:
        """Those that are new, of the answer's first `most`."""
        new = self._chooser.logprobs[self._given : most]
        self._given += len(new)
        return {"content": [self._entry(item) for item in new], "refusal": None} if new else None

    def _entry(self, item: Scored) -> dict[str, Any]:
        top = [self._token(token, logprob) for token, logprob in item.top]
        return self._token(item.token, item.logprob) | {"top_logprobs": top}

    def _token(self, token: int, logprob: float | None) -> dict[str, Any]:
        raw = self._words.bytes_of(token)
        return {"token": spelled(raw), "logprob": bounded(logprob), "bytes": list(raw)}


class TextListing:
    """A prompt's and an answer's tokens as `choices[].logprobs` of completions."""

    def __init__(self, chooser: Chooser, words: Words, unsaid: int = 0):
        """unsaid: how many of the prompt's first tokens are not in its text, as the endpoint put them before it."""
        self._chooser, self._words, self._unsaid = chooser, words, unsaid
        self._prompt_given = self._given = self._offset = 0
        self._reader = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def take(self, most: int | None = None) -> dict[str, Any] | None:
        """Those that are new, of the answer's first `most`, each with its place in the text."""
        prompt, new = self._chooser.prompt_logprobs[self._prompt_given :], self._chooser.logprobs[self._given : most]
        if not prompt and not new:
            return None
        said = [self._place(item, self._prompt_given + at >= self._unsaid) for at, item in enumerate(prompt)]
        said += [self._place(item, not self._words.is_control(item.token)) for item in new]
        self._prompt_given, self._given = self._prompt_given + len(prompt), self._given + len(new)
        items = [*prompt, *new]
        return {
            "tokens": [spelled(self._words.bytes_of(item.token)) for item in items],
            "token_logprobs": [bounded(item.logprob) for item in items],
            "top_logprobs": [self._top(item) for item in items],
            "text_offset": said,
        }

    def _place(self, item: Scored, in_text: bool) -> int:
        offset = self._offset
        if in_text:
            self._offset += len(self._reader.decode(self._words.bytes_of(item.token)))
        return offset

    def _top(self, item: Scored) -> dict[str, float | None] | None:
        if item.logprob is None:
            return None
        found: dict[str, float | None] = {}
        for token, logprob in (*item.top, (item.token, item.logprob)):
            found.setdefault(spelled(self._words.bytes_of(token)), bounded(logprob))
        return found


Listing = ChatListing | TextListing


class Reach:
    """How many of an answer's tokens lie within the part of its text that was said as the model made it.

    The chances of tokens that a guard holds back or masks would give away what it keeps.
    """

    def __init__(self, chooser: Chooser, words: Words):
        self._chooser, self._words = chooser, words
        self._tokens = self._characters = 0
        self._reader = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def within(self, characters: int) -> int:
        for item in self._chooser.logprobs[self._tokens :]:
            state = self._reader.getstate()
            control = self._words.is_control(item.token)
            length = 0 if control else len(self._reader.decode(self._words.bytes_of(item.token)))
            if self._characters + length > characters:
                self._reader.setstate(state)
                break
            self._tokens, self._characters = self._tokens + 1, self._characters + length
        return self._tokens


def bounded(logprob: float | None) -> float | None:
    return None if logprob is None else logprob if logprob > LOWEST else LOWEST  # also where it is no number


def spelled(raw: bytes) -> str:
    """A token's text; bytes that are no whole character as OpenAI spells them."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def joined(before: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Two listings of one answer as one."""
    if before is None:
        return new
    return {key: before[key] + value if isinstance(value, list) else value for key, value in new.items()}
