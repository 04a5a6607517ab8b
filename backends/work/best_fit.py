"""Which rows share a sequence. Apart from packing, because `features` asks for it and needs no torch."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Row numbers by sequence: the longest row first, each into the fullest sequence that still has room for it."""
    sequences: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, sequence), sorted
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        place = bisect_left(room, (lengths[row], -1))
        if place == len(room):
            left, sequence = capacity, len(sequences)
            sequences.append([])
        else:
            left, sequence = room.pop(place)
        sequences[sequence].append(row)
        insort(room, (left - lengths[row], sequence))
    return sequences
