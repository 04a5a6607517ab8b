"""Token ids at rest: all rows end to end in one flat array, and where each row and each sequence begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Row:
    """One conversation as tokens."""

    tokens: NDArray[np.int32]
    loss: NDArray[np.uint8]
    """1 where the model is taught to write this token."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class TokenRows:
    """Rows, in the order of the sequences that share them: row r is tokens[row_starts[r]:row_starts[r + 1]],
    sequence s is rows[sequence_starts[s]:sequence_starts[s + 1]]."""

    tokens: NDArray[np.int32]
    loss: NDArray[np.uint8]
    row_starts: NDArray[np.int64]
    sequence_starts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Row], sequences: Sequence[Sequence[int]]) -> "TokenRows":
        """Lay the rows down in the order in which the sequences name them."""
        ordered = [rows[index] for sequence in sequences for index in sequence]
        return cls(
            np.concatenate([row.tokens for row in ordered] or [np.zeros(0, np.int32)]),
            np.concatenate([row.loss for row in ordered] or [np.zeros(0, np.uint8)]),
            np.cumsum([0, *(len(row) for row in ordered)], dtype=np.int64),
            np.cumsum([0, *(len(sequence) for sequence in sequences)], dtype=np.int64),
        )

    @property
    def num_rows(self) -> int:
        return len(self.row_starts) - 1

    @property
    def num_sequences(self) -> int:
        return len(self.sequence_starts) - 1

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [int(n) for n in np.diff(self.row_starts[self.sequence_starts])]

    def row(self, index: int) -> Row:
        here = slice(int(self.row_starts[index]), int(self.row_starts[index + 1]))
        return Row(self.tokens[here], self.loss[here])

    def sequence(self, index: int) -> list[Row]:
        """The rows that share a sequence."""
        return [self.row(row) for row in range(int(self.sequence_starts[index]), int(self.sequence_starts[index + 1]))]

    def save(self, path: Path) -> None:
        save_file(vars(self), path)

    @classmethod
    def load(cls, path: Path) -> "TokenRows":
        return cls(**load_file(path))
