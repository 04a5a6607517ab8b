"""How close one wording is to another: as SQuAD counts it, and as ROUGE does."""

import re
import string
from collections import Counter

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

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


class _Words(Tokenizer):  # type: ignore[misc]
    """rouge-score's own knows only the letters a to z: an answer in Greek would have no words."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.lower())


_ROUGE = RougeScorer(["rougeL"], tokenizer=_Words())


def rouge_l(expected: str, answer: str) -> float:
    """The longest common subsequence of words, as an F-measure."""
    return float(_ROUGE.score(expected, answer)["rougeL"].fmeasure)
