"""Notices the system prompt in an answer, also spaced out, numbered, in leetspeak, reversed, rot13, base64 or hexadecimal.

Both are compared as letters and digits only, by shingles of twelve: no mark is put into the prompt, so the model is asked exactly
what was trained and evaluated. What might become a leak is held back until it is one, or is not.
"""

import base64
import codecs
import unicodedata
from array import array
from bisect import bisect_left
from collections import OrderedDict
from threading import Lock
from typing import Protocol

from backends.serving.guards.unnumbered import Unnumbered

SHINGLE = 12
SHORTEST = 20
"""A prompt with fewer letters holds no secret ("You are a helpful assistant")."""
LONGEST_RUN = 72
"""So many letters of the prompt in a row, about a dozen words, are a leak; of a shorter prompt, four fifths of it."""
SHARE = 0.5
"""Half of the prompt in pieces is a leak too."""
SUSPICIOUS = 24
"""Letters in a row from which on nothing is said until it is clear."""
KEPT, KEPT_LETTERS = 64, 200_000
"""So many prompts stay ready, of so many letters in all: about 25 MB."""
_FOLD = str.maketrans("013457@$|", "oleastasi")


def folded(text: str) -> str:
    """Letters and digits only, small, without accents, leetspeak read as letters."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(filter(str.isalnum, text.casefold().translate(_FOLD)))


def spellings(prompt: str) -> list[str]:
    """The prompt as it may be smuggled out."""
    raw = prompt.encode()
    found = [prompt, prompt[::-1], codecs.encode(prompt, "rot13"), raw.hex()]
    for skipped in range(3):  # base64 reads three bytes at a time, from wherever it begins
        found.append(base64.b64encode(raw[skipped : len(raw) - (len(raw) - skipped) % 3]).decode())
    return [folded(text) for text in found]


class Prompt:
    """One system prompt, ready to be recognised."""

    def __init__(self, text: str):
        self.letters = len(folded(text))
        places: dict[int, int] = {}
        for spelling in spellings(text):
            for at in range(len(spelling) - SHINGLE + 1):
                places.setdefault(hash(spelling[at : at + SHINGLE]), at)
        # Two plain rows of numbers: a dictionary of the same takes ten times the memory.
        self._shingles = array("q", sorted(places))
        self._places = array("l", map(places.__getitem__, self._shingles))
        self.run = max(SHORTEST, min(LONGEST_RUN, int(self.letters * 0.8)))

    def place(self, shingle: str) -> int | None:
        """Where it stands, the same for every spelling; None where it is not the prompt's."""
        at = bisect_left(self._shingles, hashed := hash(shingle))
        return self._places[at] if at < len(self._shingles) and self._shingles[at] == hashed else None


_ready: OrderedDict[str, Prompt] = OrderedDict()
_turn = Lock()


def prompt_of(text: str) -> Prompt | None:
    """Made once per system prompt: callers who bring their own bring the same one again and again."""
    with _turn:
        prompt = _ready.pop(text, None)
    prompt = prompt or Prompt(text)
    with _turn:
        _ready[text] = prompt
        while len(_ready) > 1 and (len(_ready) > KEPT or sum(map(len, _ready)) > KEPT_LETTERS):
            _ready.popitem(last=False)
    return prompt if prompt.letters >= SHORTEST else None


class Leak:
    """One answer, watched. With the first hit nothing more is said."""

    def __init__(self, prompt: Prompt):
        self._prompt = prompt
        self._last = ""
        """The last letters, one shingle at most."""
        self._run = 0
        """Letters in a row that are the prompt's."""
        self._held: list[str] = []
        self._covered: set[int] = set()
        self.hits = 0

    def push(self, text: str) -> str:
        """What may be said now."""
        if self.hits:
            return ""
        if not self._held and self._harmless(text):
            return text
        said = []
        for character in text:
            self._held.append(character)
            for letter in folded(character):
                self._read(letter)
            if self.hits:
                break
            if self._run < SUSPICIOUS:
                said += self._held
                self._held = []
        return "".join(said)

    def _harmless(self, text: str) -> bool:
        """The quick way: not one shingle of it is the prompt's."""
        new = folded(text)
        if not new:
            return True
        letters = self._last[1 - SHINGLE :] + new
        place = self._prompt.place
        if any(place(letters[at : at + SHINGLE]) is not None for at in range(len(letters) - SHINGLE + 1)):
            return False
        self._last, self._run = letters[-SHINGLE:], 0
        return True

    def finish(self) -> str:
        said = "" if self.hits else "".join(self._held)
        self._held = []
        return said

    def _read(self, letter: str) -> None:
        self._last = (self._last + letter)[-SHINGLE:]
        at = self._prompt.place(self._last)
        if at is None:
            self._run = 0
            return
        self._run = self._run + 1 if self._run else SHINGLE
        self._covered.update(range(at, at + SHINGLE))
        share = len(self._covered) >= max(SHORTEST * 2, SHARE * self._prompt.letters)
        self.hits = int(self._run >= self._prompt.run or (share and self._run >= SUSPICIOUS))


class Watcher(Protocol):
    """Looks for a leak in what it is given, and says it as far as that may be said."""

    hits: int

    def push(self, text: str) -> str: ...

    def finish(self) -> str: ...


class Reading(Protocol):
    """Another way to read an answer, which knows how what it read came."""

    def read(self, text: str, final: bool) -> str: ...

    def of(self, segment: str) -> str: ...


class ReadAs:
    """Watches another reading of an answer, and says it as it came."""

    def __init__(self, reading: Reading, watcher: Watcher):
        self._reading, self._watcher = reading, watcher
        self.hits = 0

    def push(self, text: str) -> str:
        return self._told(self._watcher.push(self._reading.read(text, final=False)))

    def finish(self) -> str:
        return self._told(self._watcher.push(self._reading.read("", final=True)) + self._watcher.finish())

    def _told(self, said: str) -> str:
        self.hits = self._watcher.hits
        return self._reading.of(said)


class AnyLeak:
    """Watches an answer as it stands, and without the numbers and the marks of its words."""

    def __init__(self, prompt: Prompt):
        self._plain, self._bare = Leak(prompt), ReadAs(Unnumbered(), Leak(prompt))
        self.hits = 0

    def push(self, text: str) -> str:
        return self._told(self._bare.push(self._plain.push(text)))

    def finish(self) -> str:
        return self._told(self._bare.push(self._plain.finish()) + self._bare.finish())

    def _told(self, said: str) -> str:
        self.hits = int(self._plain.hits + self._bare.hits > 0)
        return said
