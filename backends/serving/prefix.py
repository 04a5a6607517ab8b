"""What was read before need not be read again: key-value blocks of prompts, found by the tokens up to them.

Only what was read as a prompt is kept. What a decode step wrote differs from that in the last bit (`decoder.py` says why), and
an answer must not depend on what happens to be in the cache: of a conversation that goes on, the last answer is read once more.
"""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from backends.serving.decoder import Decoder

BLOCK = 32
"""Tokens of one block."""


class PrefixCache:
    """Blocks under a budget; the ones that were needed longest ago make room."""

    def __init__(self, decoder: Decoder, budget: int):
        self._decoder = decoder
        self._most = budget // (BLOCK * decoder.token_bytes) if decoder.movable else 0
        self._blocks: OrderedDict[bytes, np.ndarray[Any, Any]] = OrderedDict()
        self.asked = self.hit = 0
        """Tokens of prompts, and those of them that were found here."""

    def load(self, slot: int, prompt: list[int], chain: list[bytes]) -> int:
        """Copy what is known of the prompt into the slot; the number of tokens that need not be read. One is always left.

        `chain`: the prompt's `names`.
        """
        if not self._most:
            return 0
        found = list(itertools.takewhile(self._blocks.__contains__, chain[: (len(prompt) - 1) // BLOCK]))
        for at, name in enumerate(found):
            self._decoder.put(slot, at * BLOCK, self._blocks[name])
        self._touch(found)
        self.asked += len(prompt)
        self.hit += len(found) * BLOCK
        return len(found) * BLOCK

    def knows(self, chain: list[bytes]) -> bool:
        """Would anything of it be found?"""
        return bool(chain) and chain[0] in self._blocks

    def miss(self, prompt: list[int]) -> None:
        """It was looked up by `knows`, and is read whole."""
        if self._most:
            self.asked += len(prompt)

    def keep(self, slot: int, chain: list[bytes], start: int, end: int) -> None:
        """Remember the blocks that are whole now that the prompt has been read from start to end."""
        known = chain[: min(end // BLOCK, self._most)]
        for at in range(start // BLOCK, len(known)):
            if known[at] not in self._blocks:
                self._blocks[known[at]] = self._decoder.get(slot, at * BLOCK, BLOCK, self._room())
        self._touch(known)

    def _room(self) -> "np.ndarray[Any, Any] | None":
        """The memory of the block that was needed longest ago, when there may be no more blocks."""
        return self._blocks.popitem(last=False)[1] if len(self._blocks) == self._most else None

    def _touch(self, chain: list[bytes]) -> None:
        """The first block of a chain is the last to go: without it the others cannot be found."""
        for name in filter(self._blocks.__contains__, reversed(chain)):
            self._blocks.move_to_end(name)

    @property
    def tokens(self) -> int:
        return len(self._blocks) * BLOCK

    @property
    def most_tokens(self) -> int:
        return self._most * BLOCK


def names(prompt: list[int]) -> list[bytes]:
    """A name for each whole block: it stands for the block and everything before it."""
    return list(_names(np.asarray(prompt, np.int64)))


def _names(tokens: "np.ndarray[Any, Any]") -> Iterator[bytes]:
    name = b""
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        name = hashlib.blake2b(name + tokens[start : start + BLOCK].tobytes(), digest_size=16).digest()
        yield name
