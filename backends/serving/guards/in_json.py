"""Masks what JSON says, not how it is spelt: in its source a line break is the two signs `\\` and `n`, and an n is a letter.

Escapes are read as the characters they stand for. What passes unchanged is said as it came, sign for sign; what is masked is
written as JSON again, so that it stays JSON.
"""

import re
from collections import deque
from collections.abc import Callable

from backends.serving.guards.masking import Masker

QUOTE, STRAY = "\ufdd0", "\ufdd1"
"""A quote that is part of what is said, and a backslash that escapes nothing. No text has these characters."""
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt])|)')
_GROWING = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_STANDS_FOR = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_READ_AS = {"\n": "\x1e", "\r": "\x1d", "\t": "\x1f", "\f": "\x1c", "\v": "\x1c", '"': QUOTE}
"""White space that tells an escape from the character itself, so that each is written as it was."""
_WRITTEN = {"\x1e": "\\n", "\x1d": "\\r", "\x1f": "\\t", "\x1c": "\\f", "\b": "\\b", QUOTE: '\\"', STRAY: "\\", "\\": "\\\\"}
_MUST = re.compile("[\x00-\x08\x0e-\x1f\\\\\ufdd0\ufdd1\ud800-\udfff]")


def _read(found: "re.Match[str]") -> str:
    code, letter = found.groups()
    if not (code or letter):
        return STRAY
    said = chr(int(code, 16)) if code else _STANDS_FOR.get(letter, letter)
    return _READ_AS.get(said, said)


def _written(said: str) -> str:
    return _MUST.sub(lambda found: _WRITTEN.get(found[0]) or f"\\u{ord(found[0]):04x}", said)


class JsonMasker(Masker):
    """A masker for an answer in JSON. `mask` and `unfinished` see text in which the escapes have been read."""

    def __init__(self, mask: Callable[[str], str], unfinished: Callable[[str], bool], stop: bool = False):
        super().__init__(mask, unfinished, stop)
        self._growing = ""
        """An escape that is not whole yet."""
        self._taken = self._said = 0
        """Characters that were read, and those of them that went out."""
        self._spelt: deque[tuple[int, str]] = deque()
        """Where an escape stands among what was read, and how it was written."""

    def push(self, text: str) -> str:
        return super().push(self._in(text, final=False))

    def finish(self) -> str:
        said = super().push(self._in("", final=True))
        return said + super().finish()

    def _in(self, text: str, final: bool) -> str:
        if "\\" not in text and not self._growing:
            self._taken += len(text)
            return text
        text, self._growing = self._growing + text, ""
        found = list(_ESCAPE.finditer(text))
        if found and not final and (growing := _GROWING.match(text, found[-1].start())):
            self._growing, text = growing[0], text[: growing.start()]
            found.pop()
        read, done = [], 0
        for escape in found:
            read += [text[done : escape.start()], _read(escape)]
            self._taken += escape.start() - done + 1
            self._spelt.append((self._taken - 1, escape[0]))
            done = escape.end()
        self._taken += len(text) - done
        return "".join([*read, text[done:]])

    def _masked(self, segment: str) -> str:
        said = super()._masked(segment)
        began, self._said = self._said, self._said + len(segment)
        escapes = []
        while self._spelt and self._spelt[0][0] < self._said:
            escapes.append(self._spelt.popleft())
        if said != segment:
            return _written(said)
        done = 0
        spelt = []
        for at, escape in escapes:
            spelt += [segment[done : at - began], escape]
            done = at - began + 1
        return "".join([*spelt, segment[done:]])


def masked(text: str, mask: Callable[[str], str]) -> str:
    """A whole text that may be JSON, or hold some."""
    masker = JsonMasker(mask, lambda _: False)
    return masker._masked(masker._in(text, final=True))
