"""Gates, alarms and checks: what they accept, what they mean, and what they refuse."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from llmspec.expressions import Alarm, Comparison, Gate
from llmspec.section import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        (">= 100", 100, True),
        (">= 100", 99.9, False),
        ("> 100", 100, False),
        ("<= 5%", 0.05, True),
        ("< .5", 0.4, True),
        ("== 2 * 3 + 1", 7, True),
        ("== 2 * (3 + 1)", 8, True),
        ("== 10 - 2 - 3", 5, True),
        ("== 12 / 2 / 3", 2, True),
        ("!= 1e2", 100, False),
        (" >=1E+2 ", 100, True),
    ],
)
def test_a_comparison_is_arithmetic_as_everybody_learnt_it(text: str, value: float, holds: bool) -> None:
    assert Comparison.parse(text).holds(value) is holds


@pytest.mark.parametrize(
    ("gate", "score", "champion", "passed", "reason"),
    [
        ("token_f1 >= 0.8", 0.8, None, True, "token_f1 0.8 >= 0.8"),
        ("token_f1 >= 0.8", 0.78, None, False, "token_f1 0.78 < 0.8"),
        ("token_f1 >= champion - 0.01", 0.79, 0.8, True, "token_f1 0.79 >= 0.79"),
        ("token_f1 >= champion", 0.79, 0.8, False, "token_f1 0.79 < 0.8"),
        ("token_f1 >= champion", 0.1, None, True, "token_f1 0.1, no champion to compare with"),
        ("token_f1 >= 0.8", 0.79999, None, False, "token_f1 0.79999 < 0.8"),
        ("token_f1 > champion", 0.80001, 0.80002, False, "token_f1 0.80001 ≤ 0.80002"),
        ("token_f1 >= 1 / champion", 0.1, 0.0, False, "token_f1 0.1, and the champion's 0 gives no limit"),
        ("token_f1 != 0", float("nan"), None, False, "token_f1 is not a number"),
        ("token_f1 <= champion * 1.02", 0.5, float("nan"), False, "token_f1 0.5, and the champion's nan gives no limit"),
    ],
)
def test_a_gate_judges_a_score_against_a_number_or_the_champion(
    gate: str, score: float, champion: float | None, passed: bool, reason: str
) -> None:
    verdict = Gate.parse(gate).judge({"token_f1": score}, None if champion is None else {"token_f1": champion})
    assert (verdict.passed, verdict.reason) == (passed, reason)


def test_a_champion_that_was_not_measured_so_stops_nobody_and_is_not_called_none() -> None:
    verdict = Gate.parse("rouge_l >= champion").judge({"rouge_l": 0.4}, {"token_f1": 0.8})
    assert (verdict.passed, verdict.reason) == (True, "rouge_l 0.4, the champion has no rouge_l to compare with")


def test_a_gate_on_a_score_that_is_not_there_does_not_hold() -> None:
    assert not Gate.parse("rouge_l >= 0").judge({"token_f1": 1.0}, None).passed


def test_an_alarm_rings_by_value_and_says_how_long_it_must_last() -> None:
    alarm = Alarm.parse("p95_latency > 2 * 500ms for 5m")
    assert (alarm.rings(1.01), alarm.rings(1.0), alarm.lasting) == (True, False, 300.0)
    assert Alarm.parse("error_rate > 1%").rings(0.02)


@pytest.mark.parametrize(
    ("kind", "text", "fault", "word"),
    [
        (Gate, "", "expected a metric, found the end", "the end"),
        (Gate, "token_f2 >= 1", "no metric named 'token_f2'", "token_f2"),
        (Gate, "token_f1 0.8", "expected a comparison, found '0.8'", "0.8"),
        (Gate, "token_f1 >=", "expected a number or `champion`, found the end", "the end"),
        (Gate, "token_f1 => 0.8", "cannot read '=>'", "=>"),
        (Gate, "token_f1 ≥ 0.8", "cannot read '≥'", "≥"),
        (Gate, "token_f1 >= champoin", "found 'champoin'", "champoin"),
        (Gate, "token_f1 >= (1", "a bracket is not closed", "("),
        (Gate, "token_f1 >= 1 and more", "did not expect 'and'", "and"),
        (Gate, "token_f1 >= 1s", "token_f1 is not a duration", ""),
        (Gate, "token_f1 >= 1 / 0", "not a finite number", ""),
        (Gate, "token_f1 >= 1e999", "not a finite number", ""),
        (Gate, "token_f1 >= " + "(" * 30 + "1" + ")" * 30, "more than 20 brackets", ""),
        (Gate, "token_f1 >= " + "1+" * 200 + "1", "an expression of 413 characters", ""),
        (Comparison, ">= champion", "expected a number, found 'champion'", "champion"),
        (Comparison, "100", "expected a comparison, found '100'", "100"),
        (Alarm, "p95_latency > 1", "has no unit", ""),
        (Alarm, "p95_latency > 1s for 5", "expected a duration after 'for', found '5'", "for 5"),
        (Alarm, "p95_latency > 1s for", "expected a duration after 'for', found the end", "for the end"),
        (Alarm, "requests_per_minute > 5m", "requests_per_minute is not a duration", ""),
    ],
)
def test_what_is_no_expression_is_refused_with_the_word_that_is_wrong(kind: type, text: str, fault: str, word: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        kind.parse(text)  # type: ignore[attr-defined]
    context = caught.value.context or {}
    assert fault in context["fault"]
    assert context["word"] == word


@given(st.text(alphabet="token_f1perplexity championfor<>=!+-*/()%. 0123456789smhde≥", max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    for kind in (Gate, Alarm, Comparison):
        with contextlib.suppress(PydanticCustomError):
            assert str(kind.parse(text)) == text.strip()


@given(st.floats(min_value=0, max_value=3650 * 86400.0))
def test_a_duration_that_is_written_can_be_read_again(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-9, abs=1e-8)


@pytest.mark.parametrize("text", ["5", "5 min", "m", "-5m", "1e3s", "99999d", "5m 3s", "", 5, None, True, [1]])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)
