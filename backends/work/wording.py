"""How close one wording is to another: as SQuAD counts it, and as ROUGE does."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORDS = re.compile(r"\w+")


def normalized(text: str) -> list[str]:
    """SQuAD's words: small letters, no punctuation, no articles."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return _ARTICLES.sub(" ", plain).split()


def exact_match(expected: str, answer: str) -> float:
    """1 when both have the same words in the same order."""
    return float(normalized(expected) == normalized(answer))


def token_f1(expected: str, answer: str) -> float:
    """Words in common: the harmonic mean of how many of the answer's are right and how many of the expected ones are there."""
    ours, theirs = normalized(expected), normalized(answer)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def rouge_l(expected: str, answer: str) -> float:
    """The longest common subsequence of words, as an F-measure. Words of every alphabet: rouge-score's own knows only a to z."""
    ours, theirs = _WORDS.findall(expected.lower()), _WORDS.findall(answer.lower())
    common = longest_common(ours, theirs)
    if not common:
        return 0.0
    precision, recall = common / len(theirs), common / len(ours)
    return 2 * precision * recall / (precision + recall)


def longest_common(first: list[str], second: list[str]) -> int:
    """How many words both have in the same order, with others between: row by row of the usual table."""
    row = [0] * (len(second) + 1)
    for word in first:
        before, row = row, [0]
        for at, other in enumerate(second):
            row.append(before[at] + 1 if word == other else max(before[at + 1], row[at]))
    return row[-1]
