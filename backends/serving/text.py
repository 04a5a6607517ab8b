"""Tokens become text as they come: whole characters only, and nothing that might be the start of a stop text."""

from typing import Protocol

HALF = "\ufffd"
"""What a decoder writes for a character whose bytes are not all there."""
HALF_SENT = "half a character (a lone surrogate) is no text: send the whole character, or leave it out"
PATIENCE = 64
"""Tokens after which bytes that still make no character are shown as they are: no character is that long."""


class Tokenizer(Protocol):
    """The part of `tokenizers.Tokenizer` that decoding needs."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str: ...


def has_half(text: str) -> bool:
    """Whether it cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class TextStream:
    """One answer's text. `text` only grows, and what it holds is final."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]):
        self._tokenizer, self._stops = tokenizer, tuple(stop for stop in stops if stop)
        self._beginnings = tuple({stop[:n] for stop in self._stops for n in range(1, len(stop))})
        self._ids: list[int] = []
        self._start = self._read = 0
        self._known = ""
        """The text of the tokens between them."""
        self._held = ""
        """Decoded, but perhaps the start of a stop text."""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> None:
        """Decode what the token completes."""
        self._ids.append(token)
        after = self._tokenizer.decode(self._ids[self._start :])
        if after.endswith(HALF) and len(self._ids) - self._read < PATIENCE:
            return
        new = after[len(self._known) :]
        if new:  # decoded with the tokens before: some tokenizers write a space only between neighbours
            self._start, self._read = self._read, len(self._ids)
            self._known = self._tokenizer.decode(self._ids[self._start :])
            self._accept(new)

    def _accept(self, new: str) -> None:
        self._held += new
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.text += self._held[: min(found)]
            self._held, self.stopped = "", True
        elif self._held.endswith(self._beginnings):
            keep = max(_overlap(self._held, stop) for stop in self._stops)
            self.text += self._held[: len(self._held) - keep]
            self._held = self._held[len(self._held) - keep :]
        else:
            self.text += self._held
            self._held = ""

    def finish(self) -> None:
        """No more tokens: what was held back was no stop text after all. Half a character is dropped."""
        if not self.stopped:
            after = self._tokenizer.decode(self._ids[self._start :])
            self._accept(after[len(self._known) :].rstrip(HALF))
            self.text += self._held
            self._held = ""


def _overlap(text: str, stop: str) -> int:
    """How many of the text's last characters are the stop text's first."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
