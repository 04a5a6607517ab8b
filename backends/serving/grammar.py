"""Answers that must be JSON of a given schema: which tokens may come next, by llguidance."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import llguidance
import numpy as np

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

DEPTH = 60
"""Levels of nesting that a schema may have."""
SIZE = 100_000
"""Characters that a schema may have, as JSON."""
KEPT = 64
"""Compiled grammars kept; the one asked longest ago goes first."""
FORM: "JsonCompileOptions" = {"whitespace_pattern": " ?"}
"""One blank at most between JSON's parts: a model that loves white space would otherwise never come to the end."""
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
"""What compiling and one step may cost: tens of milliseconds, for the worst schema that somebody can think of."""
NEVER = np.float32(-1e30)
"""Added to a logit: no other is as low, and it is still a number."""
WHERE_SCHEMAS_ARE = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")


class SchemaError(ValueError):
    """A schema that no grammar can be made of."""

    def __init__(self, place: str, fault: str):
        self.place, self.fault = place, fault
        super().__init__(f"{place}: {fault}" if place else fault)


class Progress:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: Any, words: int):
        self._matcher = matcher
        self._bits = np.empty((words + 31) // 32, np.int32)
        self.fault = ""

    def mask(self, vocab_size: int) -> "np.ndarray[Any, Any]":
        """[vocab]: 0 for a token that may come next, else NEVER. An end-of-text token may when the text is complete."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            self.fault = "the schema is too complex to be followed"
        allowed = np.unpackbits(self._bits.view(np.uint8), count=vocab_size, bitorder="little")
        return (1 - allowed).astype(np.float32) * NEVER

    def take(self, token: int) -> bool:
        """Go on by this token; True when nothing can follow."""
        if not self._matcher.consume_token(token) and not self.fault:
            self.fault = "the schema cannot be followed with this model's tokens"
        return bool(self.fault) or self._matcher.is_stopped()


class Grammar:
    """A schema, compiled. Every answer begins its own progress."""

    def __init__(self, matcher: Any, words: int):
        self._matcher, self._words = matcher, words

    def begin(self) -> Progress:
        return Progress(self._matcher.deep_copy(), self._words)


class Grammars:
    """Grammars over one model's tokens; those asked lately are kept. May be called from any thread."""

    def __init__(self, tokenizer: str, vocab_size: int, stop_ids: list[int]):
        """tokenizer: the text of tokenizer.json."""
        self._words = vocab_size
        self._tokens = llguidance.LLTokenizer(tokenizer, n_vocab=vocab_size, eos_token=stop_ids)
        self._limits = llguidance.LLParserLimits(**LIMITS)
        self._kept: OrderedDict[str, Grammar] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; a control token for its name."""
        if token not in self._bytes:
            self._bytes[token] = bytes(self._tokens.decode_bytes([token]))
        return self._bytes[token]

    def is_control(self, token: int) -> bool:
        return bool(self._tokens.is_special_token(token))

    def json_schema(self, schema: dict[str, Any]) -> Grammar:
        """Text that is JSON of this schema, and its end."""
        text = json.dumps(schema)
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        grammar = self._compile(schema, text)
        with self._lock:
            self._kept[text] = grammar
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return grammar

    def _compile(self, schema: dict[str, Any], text: str) -> Grammar:
        if len(text) > SIZE:
            raise SchemaError("", f"the schema has {len(text):,} characters, and at most {SIZE:,} are taken")
        deep = next((place for place, depth in _depths(schema) if depth > DEPTH), None)
        if deep is not None:
            raise SchemaError("", f"the schema is nested deeper than {DEPTH} levels")
        matcher = self._matcher(text)
        fault = matcher.get_error()
        if fault:
            raise SchemaError(self._place(schema, fault), fault)
        return Grammar(matcher, self._words)

    def _matcher(self, schema: str) -> Any:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=FORM)
        return llguidance.LLMatcher(self._tokens, grammar, log_level=0, limits=self._limits)

    def _place(self, schema: dict[str, Any], fault: str) -> str:
        """The innermost part of the schema that has the same fault by itself."""
        place, part, shared = "", schema, {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        while True:
            for name, inner in parts(part):
                if self._matcher(json.dumps(shared | inner)).get_error() == fault:
                    place, part = f"{place}.{name}".lstrip("."), inner
                    break
            else:
                return place


def parts(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas directly inside a schema, with the way to them."""
    for word, value in schema.items():
        if word in WHERE_SCHEMAS_ARE and isinstance(value, dict):
            yield from ((f"{word}.{name}", inner) for name, inner in value.items() if isinstance(inner, dict))
        elif word in LISTS_OF_SCHEMAS and isinstance(value, list):
            yield from ((f"{word}.{place}", inner) for place, inner in enumerate(value) if isinstance(inner, dict))
        elif word in ("items", "additionalProperties", "not", "if", "then", "else") and isinstance(value, dict):
            yield word, value


def _depths(value: Any) -> Iterator[tuple[Any, int]]:
    """Every part of a JSON value with its depth; without recursion, which a hostile value would exhaust."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        waiting += ((each, depth + 1) for each in inner if isinstance(each, dict | list))
