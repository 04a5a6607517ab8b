"""evaluation: the metrics, against values worked out by hand."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from backends.work.wording import exact_match, normalized, rouge_l, token_f1


def test_words_are_counted_as_squad_counts_them() -> None:
    assert normalized("The  Cat, sat; on an A-frame.") == ["cat", "sat", "on", "aframe"]


@pytest.mark.parametrize(
    ("expected", "answer", "f1"),
    [
        ("within 30 days", "within 30 days", 1.0),
        ("within 30 days", "Within the 30 days!", 1.0),
        ("within 30 days", "within 14 days", 2 * 2 / (3 + 3)),
        ("days days", "days", 2 * 1 / (2 + 1)),  # a word counts as often as it is there
        ("yes", "no", 0.0),
        ("yes", "", 0.0),
        ("the", "a", 1.0),  # nothing but articles on both sides
    ],
)
def test_token_f1(expected: str, answer: str, f1: float) -> None:
    assert token_f1(expected, answer) == pytest.approx(f1)


def test_exact_match_wants_the_order_too() -> None:
    assert exact_match("The red box.", "red box") == 1.0
    assert exact_match("red box", "box red") == 0.0


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    # a b c d / a c d e: the subsequence a c d; precision 3/4, recall 3/4
    assert rouge_l("alpha beta gamma delta", "alpha gamma delta epsilon") == pytest.approx(0.75)
    # precision 2/2, recall 2/4
    assert rouge_l("one two three four", "two four") == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_rouge_l_reads_every_alphabet() -> None:
    assert rouge_l("η επιστροφή είναι δωρεάν", "η επιστροφή είναι δωρεάν") == 1.0


@given(st.text("aAbβ .1-_", max_size=24), st.text("aAbβ .1-_", max_size=24))
def test_rouge_l_is_rouge_score_s_to_the_last_bit(expected: str, answer: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import Tokenizer

    class Words(Tokenizer):  # type: ignore[misc]
        def tokenize(self, text: str) -> list[str]:
            return re.findall(r"\w+", text.lower())

    theirs = RougeScorer(["rougeL"], tokenizer=Words()).score(expected, answer)["rougeL"].fmeasure
    assert rouge_l(expected, answer) == theirs


@pytest.mark.parametrize(
    ("work", "spared"),
    [
        ("score_onnx", {"torch", "transformers", "nltk", "scipy"}),
        ("tokenize_hf", {"torch"}),
        ("clean_spark", {"torch", "transformers"}),
    ],
)
def test_a_stage_loads_nothing_heavy_that_it_does_not_need(work: str, spared: set[str]) -> None:
    look = f"import sys, backends.work.{work}; print(sorted({spared!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
