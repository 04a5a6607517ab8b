"""Reads what JSON says, not how it is spelt: in its source a line break is the two signs `\\` and `n`, and an n is a letter.

Escapes are read as the characters they stand for. What passes unchanged is said as it came, sign for sign; what is masked is
written as JSON again, so that it stays JSON.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator

from backends.serving.guards.markup import Markup
from backends.serving.guards.masking import Masker

QUOTE, STRAY = "\ufdd0", "\ufdd1"
"""A quote that is part of what is said, and a backslash that escapes nothing. No text has these characters."""
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt])|)')
_GROWING = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_STANDS_FOR = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_READ_AS = {"\n": "\x1e", "\r": "\x1d", "\t": "\x1f", "\f": "\x1c", "\v": "\x1c", '"': QUOTE}
"""White space that tells an escape from the character itself, so that each is written as it was."""
_WRITTEN = {"\x1e": "\\n", "\x1d": "\\r", "\x1f": "\\t", "\x1c": "\\f", "\b": "\\b", QUOTE: '\\"', STRAY: "\\", "\\": "\\\\"}
_AS_READ = str.maketrans(_READ_AS)
_SAYS = str.maketrans({"\x1e": "\n", "\x1d": "\r", "\x1f": "\t", "\x1c": "\f", QUOTE: '"', STRAY: "\\"})
"""Both ways, for those who look at lines and quotes."""
_MUST = re.compile("[\x00-\x08\x0e-\x1f\\\\\ufdd0\ufdd1\ud800-\udfff]")


def _read(found: "re.Match[str]") -> str:
    code, letter = found.groups()
    if not (code or letter):
        return STRAY
    said = chr(int(code, 16)) if code else _STANDS_FOR.get(letter, letter)
    return _READ_AS.get(said, said)


def _written(said: str) -> str:
    return _MUST.sub(lambda found: _WRITTEN.get(found[0]) or f"\\u{ord(found[0]):04x}", said)


class Spelling:
    """JSON as it comes, read character by character, and how each of them was spelt."""

    def __init__(self) -> None:
        self._growing = ""
        """An escape that is not whole yet."""
        self._taken = self._said = 0
        """Characters that were read, and those of them that went out."""
        self._spelt: deque[tuple[int, str]] = deque()
        """Where an escape stands among what was read, and how it was written."""

    def read(self, text: str, final: bool) -> str:
        """What it says, with the characters of `_READ_AS` for those that were escaped."""
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

    def of(self, segment: str) -> str:
        """How the next characters that were read, which are these, were spelt."""
        began, self._said = self._said, self._said + len(segment)
        spelt, done = [], 0
        while self._spelt and self._spelt[0][0] < self._said:
            at, escape = self._spelt.popleft()
            spelt += [segment[done : at - began], escape]
            done = at - began + 1
        return "".join([*spelt, segment[done:]])


class JsonMasker(Masker):
    """A masker for an answer in JSON. `mask` and `unfinished` see text in which the escapes have been read."""

    def __init__(self, mask: Callable[[str], str], unfinished: Callable[[str], bool], stop: bool = False):
        super().__init__(mask, unfinished, stop)
        self._spelling = Spelling()

    def push(self, text: str) -> str:
        return super().push(self._spelling.read(text, final=False))

    def finish(self) -> str:
        said = super().push(self._spelling.read("", final=True))
        return said + super().finish()

    def _masked(self, segment: str) -> str:
        said, spelt = super()._masked(segment), self._spelling.of(segment)
        return spelt if said == segment else _written(said)


class JsonMarkup:
    """Makes an answer in JSON safe to show: each of its strings is a text of its own."""

    def __init__(self, text: Callable[[], Markup], stop: bool = False):
        self._begin, self._stop = text, stop
        self._spelling = Spelling()
        self._text: Markup | None = None
        """The string that is being read."""
        self.hits = 0
        """With `stop`, nothing is said from the first on."""

    def push(self, text: str) -> str:
        return self._said(text, final=False)

    def finish(self) -> str:
        return self._said("", final=True)

    def _said(self, text: str, final: bool) -> str:
        said = []
        for came, out in self._steps(self._spelling.read(text, final), final):
            spelt = self._spelling.of(came)
            self.hits += out != came
            if self._stop and self.hits:
                break
            said.append(spelt if out == came else _written(out.translate(_AS_READ)))
        return "".join(said)

    def _steps(self, read: str, final: bool) -> Iterator[tuple[str, str]]:
        """What came, and what is said for it."""
        for part in re.split('(")', read):
            if part != '"':
                yield from self._text.steps(part.translate(_SAYS), final=False) if self._text else [(part, part)]
                continue
            if self._text:
                yield from self._text.steps("", final=True)
            self._text = None if self._text else self._begin()
            yield part, part
        if final and self._text:
            yield from self._text.steps("", final=True)


def masked(text: str, mask: Callable[[str], str]) -> str:
    """A whole text that may be JSON, or hold some."""
    masker = JsonMasker(mask, lambda _: False)
    return masker._masked(masker._spelling.read(text, final=True))
