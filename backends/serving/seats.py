"""Who sits in which slot of the decoder. Those who answer are kept together, for the rows of a step are neighbours."""

from collections.abc import Iterator

import numpy as np

from backends.serving.decoder import Decoder
from backends.serving.generation import Generation


class Seats:
    """The slots, with what each holds."""

    def __init__(self, decoder: Decoder):
        self._decoder = decoder
        self._items: list[Generation | None] = [None] * decoder.slots
        self.lengths = np.zeros(decoder.slots, np.int64)
        """Of each slot: the tokens in its memory."""
        self.last = np.zeros((decoder.slots, 1), np.int64)
        """Of each slot: the token to be fed next."""

    def __iter__(self) -> Iterator[Generation]:
        return (item for item in self._items if item)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def answering(self) -> list[Generation]:
        """In the order of their slots."""
        return [item for item in self if item.answering]

    def free(self) -> list[int]:
        """The first free slot and its free neighbours."""
        empty = [slot for slot, item in enumerate(self._items) if item is None]
        return [slot for place, slot in enumerate(empty) if slot - place == empty[0]]

    def take(self, slot: int, item: Generation) -> None:
        self._items[slot], item.slot = item, slot

    def leave(self, item: Generation) -> None:
        slot, item.slot = item.slot, -1
        self._items[slot], self.lengths[slot], self.last[slot] = None, 0, 0

    def close_gaps(self) -> None:
        """Move the last who answers into the first gap, until there is none. Whoever is still read stays: a step over it
        computes a token that nobody uses, and writes it where the next piece of the prompt goes."""
        while self._decoder.movable and None in self._items:
            gap = self._items.index(None)
            behind = [item for item in self._items[gap:] if item and item.answering]
            if not behind:
                return
            self._move(behind[-1], gap)

    def _move(self, item: Generation, gap: int) -> None:
        source, length = item.slot, int(self.lengths[item.slot])
        token = int(self.last[source, 0])
        self._decoder.move(source, gap, length)
        self.leave(item)
        self.take(gap, item)
        self.lengths[gap], self.last[gap] = length, token
