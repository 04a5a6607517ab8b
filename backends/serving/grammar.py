"""Answers that must be JSON of a given schema: which tokens may come next, by llguidance."""

import json
import math
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llguidance
import numpy as np

from backends.serving import schema_trial
from backends.serving.text import HALF_SENT, has_half

DEPTH = 60
"""Levels of nesting that a schema may have."""
SIZE = 100_000
"""Characters that a schema may have, as JSON."""
KEPT = 64
"""Compiled grammars kept; the one asked longest ago goes first."""
RISKY = {"pattern", "patternProperties", "format", "multipleOf", "allOf", "oneOf"}
"""Words that can make a small schema take for ever: one that has them is tried in a process that can be ended."""
LARGE = 10_000
"""Characters above which a schema is tried likewise."""
TRIAL_SECONDS = 10.0
"""How long to wait for such a trial; it ends itself after two seconds of work."""
TOO_COMPLEX = "the schema is too complex to be followed, or nothing satisfies it"
ENDLESS = "NaN and endless numbers are not JSON: write a number, or leave the word out"
UNSPOKEN = "\0"
"""Begins a name that no JSON spells: the character itself may not stand in it."""
NEVER = np.float32(-1e30)
"""Added to a logit: no other is as low, and it is still a number."""


class SchemaError(ValueError):
    """A schema that no grammar can be made of."""

    def __init__(self, fault: str, place: str = ""):
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
        self._notice()
        allowed = np.unpackbits(self._bits.view(np.uint8), count=vocab_size, bitorder="little")
        return (1 - allowed).astype(np.float32) * NEVER

    def take(self, token: int) -> bool:
        """Go on by this token; True when nothing can follow."""
        self._matcher.consume_token(token)
        self._notice()
        return bool(self.fault) or self._matcher.is_stopped()

    def _notice(self) -> None:
        if self._matcher.is_error():
            self.fault = TOO_COMPLEX


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
        self._tokens = llguidance.LLTokenizer(without_control_texts(tokenizer), n_vocab=vocab_size, eos_token=stop_ids)
        self._kept: OrderedDict[str, Grammar] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; a control token for its name."""
        if token not in self._bytes:
            self._bytes[token] = bytes(self._tokens.decode_bytes([token])).removeprefix(UNSPOKEN.encode())
        return self._bytes[token]

    def is_control(self, token: int) -> bool:
        return bool(self._tokens.is_special_token(token))

    def known(self, schema: dict[str, Any]) -> Grammar | None:
        """At once, when it was asked lately."""
        text = checked_text(schema)
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
            return self._kept.get(text)

    def json_schema(self, schema: dict[str, Any]) -> Grammar:
        """Text that is JSON of this schema, and its end."""
        if found := self.known(schema):
            return found
        text = json.dumps(schema)
        grammar = self._compiled(schema, text)
        with self._lock:
            self._kept[text] = grammar
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return grammar

    def _compiled(self, schema: dict[str, Any], text: str) -> Grammar:
        risky = len(text) > LARGE or RISKY & set(words_of(schema))
        found = tried(text) if risky else schema_trial.examine(schema)
        if found["fault"]:
            raise SchemaError(found["fault"], found["place"])
        limits = llguidance.LLParserLimits(**schema_trial.LIMITS)
        matcher = llguidance.LLMatcher(self._tokens, schema_trial.grammar_of(schema), log_level=0, limits=limits)
        grammar = Grammar(matcher, self._words)
        trial = grammar.begin()
        trial.take(int(trial.mask(self._words).argmax()))
        trial.mask(self._words)
        if trial.fault:
            raise SchemaError(trial.fault)
        return grammar


def without_control_texts(tokenizer: str) -> str:
    """tokenizer.json, with names for the control tokens that no JSON spells.

    A text in a schema such as `</s>` would else be read as the token that ends the answer; so it is spelt by ordinary ones.
    """
    read = json.loads(tokenizer)
    names = {}
    for token in read.get("added_tokens") or ():
        text = token["content"]
        if token["special"] or (text.startswith("<") and text.endswith(">")):  # the latter are special to llguidance, too
            names[text] = token["content"] = UNSPOKEN + text
            token["special"] = True
    model = read["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(text, text): at for text, at in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    return json.dumps(read)


def checked_text(schema: dict[str, Any]) -> str:
    """The schema as JSON, when it is JSON, and no larger than any that people write."""
    for number, (_, depth) in enumerate(walked(schema)):
        if depth > DEPTH:
            raise SchemaError(f"the schema is nested deeper than {DEPTH} levels")
        if number > SIZE // 4:
            raise SchemaError(f"the schema has more than {number:,} parts")
    if "x-guidance" in words_of(schema):
        raise SchemaError("'x-guidance' is not a word of JSON Schema")
    text = json.dumps(schema)
    if len(text) > SIZE:
        raise SchemaError(f"the schema has {len(text):,} characters, and at most {SIZE:,} are taken")
    if fault := next(unspeakable(schema), None):
        raise fault
    return text


def unspeakable(value: Any, place: str = "") -> Iterator[SchemaError]:
    """What Python reads and writes as JSON, and nobody else does."""
    if isinstance(value, str) and has_half(value):
        yield SchemaError(HALF_SENT, place)
    elif isinstance(value, float) and not math.isfinite(value):
        yield SchemaError(ENDLESS, place)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from unspeakable(name, place)
            yield from unspeakable(inner, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from unspeakable(inner, f"{place}.{at}".lstrip("."))


def tried(text: str) -> dict[str, str]:
    """What a trial in a process of its own says of the schema."""
    program = [sys.executable, "-P", "-I", str(Path(schema_trial.__file__))]
    try:
        done = subprocess.run(program, input=text, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        raise SchemaError(TOO_COMPLEX) from error
    found: dict[str, str] = json.loads(done.stdout)
    return found


def words_of(schema: dict[str, Any]) -> Iterator[str]:
    for part, _ in walked(schema):
        if isinstance(part, dict):
            yield from part


def walked(value: Any) -> Iterator[tuple[Any, int]]:
    """Every part of a JSON value with its depth; without recursion, which a hostile value would exhaust."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        waiting += ((each, depth + 1) for each in inner if isinstance(each, dict | list))
