"""The little language of gates, alarms and checks: `token_f1 >= champion - 0.01`, `p95_latency > 1s for 5m`, `>= 100`.

bound      := product (('+' | '-') product)*
product    := atom (('*' | '/') atom)*
atom       := NUMBER [% | ms | s | m | h | d] | champion | '(' bound ')'
comparison := OP bound
gate       := METRIC OP bound
alarm      := METRIC OP bound ['for' DURATION]
"""

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from llmspec.section import format_duration, parse_duration, wrong

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
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)(?P<unit>%|(?:ms|[smhd])\b)?|(?P<name>[A-Za-z_][\w.]*)|(?P<sign>>=|<=|==|!=|[-+*/()<>]))"
)
_MAX_LENGTH = 200


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
        assert self.left
        assert self.right
        left, right = self.left.evaluate(champion), self.right.evaluate(champion)
        if left is None or right is None:
            return None
        return _ARITHMETIC[self.sign](left, right) if self.sign != "/" or right else None


class _Parser:
    def __init__(self, text: str, champion: bool):
        self.champion = champion
        self.tokens: list[tuple[str, str]] = []
        if len(text) > _MAX_LENGTH:
            raise wrong(f"an expression of {len(text)} characters", f"keep it under {_MAX_LENGTH}")
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if not match:
                raise wrong(f"{text!r}: cannot read {text[at:].strip()[:12]!r}", "write a comparison: `token_f1 >= 0.8`")
            kind = str(match.lastgroup)
            word = match["number"] + (match["unit"] or "") if match["number"] else match[kind]
            self.tokens.append(("number" if match["number"] else kind, word))
            at = match.end()
        self.text = text

    def peek(self) -> tuple[str, str]:
        return self.tokens[0] if self.tokens else ("end", "the end")

    def take(self) -> tuple[str, str]:
        return self.tokens.pop(0) if self.tokens else ("end", "the end")

    def comparison(self) -> str:
        kind, word = self.take()
        if kind != "sign" or word not in _OPS:
            raise wrong(f"{self.text!r}: expected a comparison, found {word!r}", f"use one of {' '.join(_OPS)}")
        return word

    def bound(self) -> Term:
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
            return Term("number", parse_duration(word) if word[-1].isalpha() else float(word))
        if (kind, word) == ("name", "champion") and self.champion:
            return Term("champion")
        if word == "(":
            inner = self.bound()
            if self.take()[1] != ")":
                raise wrong(f"{self.text!r}: a bracket is not closed", "add ')'")
            return inner
        allowed = "a number or `champion`" if self.champion else "a number"
        raise wrong(f"{self.text!r}: expected {allowed}, found {word!r}", f"compare with {allowed}: `>= 0.8`")

    def end(self) -> None:
        if self.tokens:
            raise wrong(f"{self.text!r}: did not expect {self.peek()[1]!r}", "one comparison per line")

    def metric(self, known: tuple[str, ...]) -> str:
        kind, word = self.take()
        if kind != "name" or word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            cure = f"did you mean {near[0]!r}? " if near else ""
            raise wrong(f"{self.text!r}: no metric named {word!r}", f"{cure}(known: {', '.join(known)})")
        return word


@dataclass(frozen=True)
class _Expression:
    """Text outside, parsed inside; equal when the text is."""

    text: str
    pattern: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        raise AssertionError(f"{cls.__name__} has a grammar of its own")

    @classmethod
    def _validate(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise wrong(f"{value!r} is not a comparison", f"write it as text: {cls.pattern}")
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
        return found

    def holds(self, value: float) -> bool:
        limit = self.bound.evaluate(None)
        return limit is not None and _OPS[self.op](value, limit)


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
        return found

    def judge(self, scores: Mapping[str, float], champion: Mapping[str, float] | None) -> Verdict:
        """A pure function of stored scores. Without a champion, a gate against it holds: somebody must be first."""
        value = scores.get(self.metric)
        if value is None:
            return Verdict(self.text, False, f"{self.metric} was not measured")
        limit = self.bound.evaluate(None if champion is None else champion.get(self.metric))
        if limit is None:
            return Verdict(self.text, True, f"{self.metric} {value:.4g}, no champion to compare with")
        passed = _OPS[self.op](value, limit)
        return Verdict(self.text, passed, f"{self.metric} {value:.4g} {self.op if passed else _not(self.op)} {limit:.4g}")


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
        if parser.peek() == ("name", "for"):
            parser.take()
            lasting = parse_duration(parser.take()[1])
        parser.end()
        return cls(text.strip(), metric, op, bound, lasting)

    def rings(self, value: float) -> bool:
        limit = self.bound.evaluate(None)
        return limit is not None and _OPS[self.op](value, limit)

    def describe(self) -> str:
        return f"{self.text}" + (f" (held for {format_duration(self.lasting)})" if self.lasting else "")
