"""How much prompt may be read between two tokens of those who are being answered, and how long the queue takes."""

WEIGHT = 0.25
"""Of the newest measurement in the mean."""
SHARE, MOST_SHARE = 1.75, 16.0
"""Seconds of reading for each second of a step: the first for each who waits to be read, up to the second."""
LEAST = 32
"""Tokens: in smaller pieces reading costs more than it spares the others."""
TYPICAL = 128
"""Tokens that an answer is taken to have, unless all are shorter, as long as none has ended."""


class Tempo:
    """Means over the last steps. The cut of a prompt has no influence on its answer, so it may follow the load."""

    def __init__(self) -> None:
        self._step = self._token = self._answer = 0.0
        """Seconds of a decode step, of reading one token, and from a slot to the end of the answer."""

    def read(self, tokens: int, seconds: float) -> None:
        self._token = mean(self._token, seconds / tokens)

    def stepped(self, seconds: float) -> None:
        self._step = mean(self._step, seconds)

    def answered(self, seconds: float) -> None:
        self._answer = mean(self._answer, seconds)

    def begin(self) -> None:
        """What was answered so far was a trial: nobody's answer is as short."""
        self._answer = 0.0

    def tokens(self, most: int, answering: int, waiting: int) -> int:
        """How many to read now: an even number."""
        if not answering or not self._token or not self._step:
            return most
        share = min(SHARE * max(1, waiting), MOST_SHARE)
        return min(most, max(LEAST, int(share * self._step / self._token))) // 2 * 2

    def wait(self, ahead: int, slots: int, longest: int = TYPICAL) -> float:
        """Seconds until whoever comes now gets a slot, when so many wait already and none may have more than `longest` tokens."""
        answer = self._answer or self._step * min(TYPICAL, longest)
        return answer * (ahead + 1) / slots


def mean(before: float, new: float) -> float:
    """Of what was measured lately."""
    return (1 - WEIGHT) * before + WEIGHT * new if before else new
