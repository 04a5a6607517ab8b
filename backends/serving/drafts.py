"""Prompt lookup: what followed the last tokens when they came before is a guess at what follows now.

Answers that repeat their prompt or themselves (quotations, code, tables) are guessed well, and several tokens are verified in
one step at little more than the price of one. Others are guessed badly: who guesses badly is asked less often.
"""

LONGEST, SHORTEST = 4, 2
"""Tokens that must have come before in this order."""
MOST = 7
"""Tokens of one guess: with the one before them they are eight rows."""
LEAST_WORTH = 0.5
"""Tokens that a guess must bring on the average: about the price of the rows that verify it."""
PATIENCE = 16
"""Steps without a guess, after guesses that were not worth their price; each time that happens, twice as many."""


class Drafts:
    """The guesses for one request."""

    def __init__(self, prompt: list[int]):
        self._tokens = list(prompt)
        self._followed: dict[tuple[int, ...], int] = {}
        """Some tokens in a row -> where what followed them begins, the last time."""
        self._indexed = 0
        self._worth, self._wait, self._patience = 1.0, 0, PATIENCE
        """How many tokens a guess has brought lately; steps until the next one is made; and after the next disappointment."""

    def add(self, token: int) -> None:
        self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """What may come next; nothing when nothing like it came before, or guessing does not pay."""
        self._index()
        if self._wait:
            self._wait -= 1
            return []
        for length in range(LONGEST, SHORTEST - 1, -1):
            if start := self._followed.get(tuple(self._tokens[-length:])):
                period = self._tokens[start:]  # what goes round in a circle is guessed to go on
                return [period[at % len(period)] for at in range(min(MOST, most, 2 + int(2 * self._worth)))]
        return []

    def judge(self, accepted: int) -> None:
        """So many tokens of the last guess were right."""
        self._worth = 0.7 * self._worth + 0.3 * accepted
        if self._worth < LEAST_WORTH:
            self._worth, self._wait, self._patience = 1.0, self._patience, 2 * self._patience

    def _index(self) -> None:
        """Everything but what ends at the last token: that is what is looked for."""
        for end in range(self._indexed, len(self._tokens)):
            for length in range(SHORTEST, LONGEST + 1):
                if end >= length:
                    self._followed[tuple(self._tokens[end - length : end])] = end
        self._indexed = len(self._tokens)
