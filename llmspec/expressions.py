"""The little language of gates, alarms and checks: `token_f1 >= champion - 0.01`, `p95_latency > 1s for 5m`, `>= 100`.

bound      := product (('+' | '-') product)*
product    := atom (('*' | '/') atom)*
atom       := NUMBER [% | ms | s | m | h | d] | champion | '(' bound ')'
comparison := OP bound
gate       := METRIC OP bound
alarm      := METRIC OP bound ['for' DURATION]
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from llmspec.section import did_you_mean, parse_duration, wrong

GATE_METRICS = ("token_f1", "exact_match", "perplexity", "rouge_l")
ALARM_METRICS = (
    "p50_latency",
    "p95_latency",
    "p99_latency",
    "p95_first_token",
    "error_rate",
    "requests_per_minute",
    "tokens_per_second",
)
DURATIONS = ("p50_latency", "p95_latency", "p99_latency", "p95_first_token")
"""Metrics in seconds: what they are compared with has a unit."""
_OPS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?P<unit>%|(?:ms|[smhd])\b)?"
    r"|(?P<name>[A-Za-z_][\w.]*)|(?P<sign>>=|<=|==|!=|[-+*/()<>]))"
)
_MEANT = {"=>": ">=", "=<": "<=", "≥": ">=", "≤": "<=", "≠": "!=", "<>": "!=", "=": "=="}
_MAX_LENGTH = 200
_MAX_BRACKETS = 20


@dataclass(frozen=True)
class Term:
    """A number, `champion`, or an operation on two terms."""

    sign: str
    value: float = 0.0
    left: "Term | None" = None
    right: "Term | None" = None

    def evaluate(self, champion: float | None) -> float | None:
        if self.sign == "number":
            return self.value
        if self.sign == "champion":
            return champion
        assert self.left is not None
        assert self.right is not None
        left, right = self.left.evaluate(champion), self.right.evaluate(champion)
        if left is None or right is None:
            return None
        return _ARITHMETIC[self.sign](left, right) if self.sign != "/" or right else None

    def asks_champion(self) -> bool:
        return self.sign == "champion" or any(part is not None and part.asks_champion() for part in (self.left, self.right))


class _Parser:
    def __init__(self, text: str, champion: bool):
        self.champion = champion
        self.tokens: list[tuple[str, str]] = []
        self.timed = False
        """Whether a number with a unit of time was read."""
        self.brackets = 0
        if len(text) > _MAX_LENGTH:
            raise wrong(f"an expression of {len(text):,} characters", f"keep it under {_MAX_LENGTH}")
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if not match:
                raise _unreadable(text[at:].split()[0])
            kind = str(match.lastgroup)
            word = match["number"] + (match["unit"] or "") if match["number"] else match[kind]
            self.tokens.append(("number" if match["number"] else kind, word))
            at = match.end()

    def peek(self) -> tuple[str, str]:
        return self.tokens[0] if self.tokens else ("end", "the end")

    def take(self) -> tuple[str, str]:
        return self.tokens.pop(0) if self.tokens else ("end", "the end")

    def comparison(self) -> str:
        kind, word = self.take()
        if kind != "sign" or word not in _OPS:
            raise wrong(f"expected a comparison, found {_quoted(word)}", f"use one of {' '.join(_OPS)}", word=word)
        return word

    def bound(self) -> Term:
        """All of the right side: it must be a number, or become one when there is a champion."""
        found = self._sum()
        if not found.asks_champion():
            limit = found.evaluate(None)
            if limit is None or not math.isfinite(limit):
                raise wrong("the right side is not a finite number", "is something divided by 0, or too large?")
        return found

    def _sum(self) -> Term:
        return self._chain(lambda: self._chain(self._atom, "*/"), "+-")

    def _chain(self, part: Callable[[], Term], signs: str) -> Term:
        left = part()
        while self.peek()[0] == "sign" and self.peek()[1] in signs:
            left = Term(self.take()[1], left=left, right=part())
        return left

    def _atom(self) -> Term:
        kind, word = self.take()
        if kind == "number":
            if word.endswith("%"):
                return Term("number", float(word[:-1]) / 100)
            self.timed = self.timed or word[-1].isalpha()
            return Term("number", parse_duration(word) if word[-1].isalpha() else float(word))
        if (kind, word) == ("name", "champion") and self.champion:
            return Term("champion")
        if word == "(":
            self.brackets += 1
            if self.brackets > _MAX_BRACKETS:
                raise wrong(f"more than {_MAX_BRACKETS} brackets", "write it more simply")
            inner = self._sum()
            if self.take()[1] != ")":
                raise wrong("a bracket is not closed", "add ')'", word="(")
            return inner
        allowed = "a number or `champion`" if self.champion else "a number"
        cure = did_you_mean(word, ["champion"], listed=False) if self.champion and kind == "name" else ""
        raise wrong(f"expected {allowed}, found {_quoted(word)}", cure or f"compare with {allowed}: `>= 0.8`", word=word)

    def duration(self) -> float:
        word = self.take()[1]
        if not word[-1].isalpha() or word == "the end":
            raise wrong(f"expected a duration after 'for', found {_quoted(word)}", "write `for 5m`", word=f"for {word}")
        seconds: float = parse_duration(word)
        return seconds

    def end(self) -> None:
        if self.tokens:
            word = self.peek()[1]
            raise wrong(f"did not expect {_quoted(word)}", "one comparison per line, and nothing after it", word=word)

    def check_unit(self, metric: str = "") -> None:
        """Seconds are compared with durations, and nothing else is."""
        if metric in DURATIONS and not self.timed:
            raise wrong(f"{metric} is a duration, and what it is compared with has no unit", "write 500ms, 1s or 2m")
        if metric not in DURATIONS and self.timed:
            raise wrong(f"{metric or 'this'} is not a duration", "leave the unit of time out")

    def metric(self, known: tuple[str, ...]) -> str:
        kind, word = self.take()
        if kind != "name" or word not in known:
            fault = f"no metric named {_quoted(word)}" if kind == "name" else f"expected a metric, found {_quoted(word)}"
            raise wrong(fault, did_you_mean(word, known), word=word)
        return word


def _quoted(word: str) -> str:
    return word if word == "the end" else f"'{word}'"


def _unreadable(word: str) -> PydanticCustomError:
    meant = next((cure for sign, cure in _MEANT.items() if word.startswith(sign)), "")
    cure = f"did you mean '{meant}'?" if meant else "write a comparison: `token_f1 >= 0.8`"
    return wrong(f"cannot read '{word[:20]}'", cure, word=word[:20])


@dataclass(frozen=True)
class _Expression:
    """Text outside, parsed inside; equal when it asks the same, however that is written."""

    text: str = field(compare=False)
    pattern: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        raise AssertionError(f"{cls.__name__} has a grammar of its own")

    @classmethod
    def _validate(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise wrong(f"{str(value)[:60]} is not a comparison", f'write it as text: "{cls.pattern}"')
        return cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "examples": [cls.pattern]}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Comparison(_Expression):
    """`>= 100`."""

    op: str
    bound: Term
    pattern = ">= 100"

    @classmethod
    def parse(cls, text: str) -> Self:
        parser = _Parser(text, champion=False)
        found = cls(text.strip(), parser.comparison(), parser.bound())
        parser.end()
        parser.check_unit()
        return found

    def holds(self, value: float) -> bool:
        return _holds(value, self.op, self.bound)


def _holds(value: float, op: str, bound: Term) -> bool:
    """Of a bound that asks no champion."""
    limit = bound.evaluate(None)
    return limit is not None and _OPS[op](value, limit)


@dataclass(frozen=True)
class Verdict:
    """Whether a gate holds, and the numbers that say so."""

    gate: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Gate(_Expression):
    """`token_f1 >= 0.8`, `perplexity <= champion * 1.02`."""

    metric: str
    op: str
    bound: Term
    pattern = "token_f1 >= 0.8"

    @classmethod
    def parse(cls, text: str) -> Self:
        parser = _Parser(text, champion=True)
        found = cls(text.strip(), parser.metric(GATE_METRICS), parser.comparison(), parser.bound())
        parser.end()
        parser.check_unit(found.metric)
        return found

    def judge(self, scores: Mapping[str, float], champion: Mapping[str, float] | None) -> Verdict:
        """A pure function of stored scores. Without a champion, a gate against it holds: somebody must be first."""
        value = scores.get(self.metric)
        if value is None:
            return Verdict(self.text, False, f"{self.metric} was not measured")
        if math.isnan(value):
            return Verdict(self.text, False, f"{self.metric} is not a number")
        rival = None if champion is None else champion.get(self.metric)
        limit = self.bound.evaluate(rival)
        if limit is None and rival is None:
            lacks = "no champion" if champion is None else f"the champion has no {self.metric}"
            return Verdict(self.text, True, f"{self.metric} {shown(value)}, {lacks} to compare with")
        if limit is None or math.isnan(limit):
            return Verdict(self.text, False, f"{self.metric} {shown(value)}, and the champion's {rival:.4g} gives no limit")
        passed = _OPS[self.op](value, limit)
        score, bound = shown_beside(value, limit), shown_beside(limit, value)
        return Verdict(self.text, passed, f"{self.metric} {score} {self.op if passed else _not(self.op)} {bound}")


def shown(value: float) -> str:
    """Four digits, or all of them before the point."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def shown_beside(value: float, other: float) -> str:
    """As short as that, or whole where it would read like the other one and is not."""
    return shown(value) if value == other or shown(value) != shown(other) else repr(value)


def _not(op: str) -> str:
    return {">=": "<", "<=": ">", ">": "≤", "<": "≥", "==": "≠", "!=": "="}[op]


@dataclass(frozen=True)
class Alarm(_Expression):
    """`p95_latency > 1s for 5m`: it rings when it has been true all that time."""

    metric: str
    op: str
    bound: Term
    lasting: float = 0.0
    pattern = "p95_latency > 1s for 5m"

    @classmethod
    def parse(cls, text: str) -> Self:
        parser = _Parser(text, champion=False)
        metric, op, bound, lasting = parser.metric(ALARM_METRICS), parser.comparison(), parser.bound(), 0.0
        parser.check_unit(metric)
        if parser.peek() == ("name", "for"):
            parser.take()
            lasting = parser.duration()
        parser.end()
        return cls(text.strip(), metric, op, bound, lasting)

    def rings(self, value: float) -> bool:
        return _holds(value, self.op, self.bound)
