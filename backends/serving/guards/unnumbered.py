"""Reads an answer without what counts or marks up its words: `1. You`, `| 2 | are |`, `<li>Bob</li>` say `You are Bob`.

Of two numbers in a row only the first counts: the other is a word that is counted.
"""

import re
from collections import deque

_PARTING = re.compile(r"<[A-Za-z/][^<>\n]{0,60}>|\||(?P<number>(?<![^\W_])[0-9][0-9.]{0,7}(?![^\W_]|\.))")
_GROWING = re.compile(r"(?:<(?:[A-Za-z/][^<>\n]{0,60})?|(?<![^\W_])[0-9][0-9.]{0,7})\Z")
_SIGN = re.compile("[<|0-9]")
_WORD = re.compile(r"[^\W_]")


class Unnumbered:
    """One answer, however it comes in pieces."""

    def __init__(self) -> None:
        self._last, self._growing = " ", ""
        """The last character that was read, and what may become a number or a tag."""
        self._counted = False
        """A number was left out, and no word has come since."""
        self._read = self._said = 0
        """Characters that were read, and those of them that went out."""
        self._left_out: deque[tuple[int, str]] = deque()
        """What was left out, and before which of them."""

    def read(self, text: str, final: bool) -> str:
        """What it says, as far as that is known."""
        if not (self._growing or _SIGN.search(text)):  # most tokens
            self._last = text[-1:] or self._last
            return self._kept(text)
        text = self._last + self._growing + text
        growing = None if final else _GROWING.search(text, 1)
        end, done = growing.start() if growing else len(text), 1
        read = []
        for found in _PARTING.finditer(text, 1, end):
            read.append(self._kept(text[done : found.start()]))
            done = found.start() if self._counted and found["number"] else found.end()
            self._counted |= found["number"] is not None
            if done == found.end():
                self._left_out.append((self._read, found[0]))
        read.append(self._kept(text[done:end]))
        self._last, self._growing = text[end - 1], text[end:]
        return "".join(read)

    def _kept(self, text: str) -> str:
        self._read += len(text)
        self._counted = self._counted and not _WORD.search(text)
        return text

    def of(self, segment: str) -> str:
        """How the next characters that were read, which are these, came."""
        began, self._said = self._said, self._said + len(segment)
        came, done = [], 0
        while self._left_out and self._left_out[0][0] <= self._said:
            at, left_out = self._left_out.popleft()
            came += [segment[done : at - began], left_out]
            done = at - began
        return "".join([*came, segment[done:]])
