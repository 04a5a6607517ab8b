"""Structured output: whatever the model would like to say, the answer is JSON of the schema, or says that it is cut."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_parts import exported

from backends.serving import schema_trial
from backends.serving.engine import Answer, Engine
from backends.serving.grammar import DEPTH, Grammar, Grammars, SchemaError
from backends.serving.sampling import Sampling

Checked = tuple[dict[str, Any], Callable[[Any], bool]]
"""A schema and what must be true of its values."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=4, max_len=1000, threads=1)


@pytest.fixture(scope="module")
def grammars(engine: Engine) -> Grammars:
    return Grammars(engine.tokenizer.to_str(), engine.decoder.vocab_size, engine.contract.stop_ids)


def of_array(items: Checked, least: int, most: int) -> Checked:
    schema = {"type": "array", "items": items[0], "minItems": least, "maxItems": most}
    return schema, lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(items[1], value))


def of_object(fields: dict[str, Checked], needed: set[str]) -> Checked:
    schema = {
        "type": "object",
        "properties": {name: field[0] for name, field in fields.items()},
        "required": sorted(needed & set(fields)),
        "additionalProperties": False,
    }
    return (
        schema,
        lambda value: (
            isinstance(value, dict)
            and needed & set(fields) <= set(value) <= set(fields)
            and all(fields[name][1](item) for name, item in value.items())
        ),
    )


def of_either(one: Checked, other: Checked) -> Checked:
    return {"anyOf": [one[0], other[0]]}, lambda value: one[1](value) or other[1](value)


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


WORDS = st.sampled_from(["a", "name", "ü", 'quo"te', "two words"])
LEAVES: st.SearchStrategy[Checked] = st.one_of(
    st.just(({"type": "boolean"}, lambda value: type(value) is bool)),
    st.just(({"type": "null"}, lambda value: value is None)),
    st.tuples(st.integers(-50, 50), st.integers(0, 900)).map(
        lambda ends: (
            {"type": "integer", "minimum": ends[0], "maximum": ends[0] + ends[1]},
            lambda value: type(value) is int and ends[0] <= value <= ends[0] + ends[1],
        )
    ),
    st.tuples(st.integers(0, 4), st.integers(0, 8)).map(
        lambda ends: (
            {"type": "string", "minLength": ends[0], "maxLength": sum(ends)},
            lambda value: type(value) is str and ends[0] <= len(value) <= sum(ends),
        )
    ),
    st.lists(WORDS, min_size=1, max_size=3).map(lambda words: ({"enum": words}, lambda value: value in words)),
    st.just(({"type": "string", "pattern": "^[a-c]{2,5}$"}, lambda value: 2 <= len(value) <= 5 and not set(value) - set("abc"))),
)
SCHEMAS: st.SearchStrategy[Checked] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(of_array, inner, st.integers(0, 2), st.integers(2, 3)),
        st.builds(of_object, st.dictionaries(WORDS, inner, max_size=3), st.sets(WORDS)),
        st.builds(of_either, inner, inner),
    ),
    max_leaves=4,
)


def answer(engine: Engine, grammar: Grammar, tokens: int, **sampling: Any) -> Answer:
    return engine.generate([[7, 8, 9]], tokens, grammar=grammar, **sampling)[0]


@given(SCHEMAS, st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_random_weights_say_json_of_any_schema(
    engine: Engine, grammars: Grammars, checked: Checked, temperature: float, seed: int
) -> None:
    schema, holds = checked
    made = answer(engine, grammars.json_schema(schema), 900, temperature=temperature, seed=seed)
    assert made.finish == "stop", made.text
    assert holds(json.loads(made.text)), (schema, made.text)


def test_an_object_of_any_form_is_json_when_it_comes_to_its_end(engine: Engine, grammars: Grammars) -> None:
    grammar = grammars.json_schema({"type": "object"})
    made = [answer(engine, grammar, 300, temperature=1.5, seed=seed) for seed in range(8)]
    for each in made:
        assert each.text.startswith("{")
        if each.finish == "stop":
            assert isinstance(json.loads(each.text), dict)
        else:
            assert (each.finish, len(each.ids)) == ("length", 300)
    assert {"stop"} <= {each.finish for each in made}


def test_an_answer_that_is_cut_says_so(engine: Engine, grammars: Grammars) -> None:
    made = answer(engine, grammars.json_schema({"type": "string", "minLength": 100}), 10)
    assert made.finish == "length"
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(made.text)


def test_a_stop_token_may_come_only_when_the_text_is_complete(engine: Engine, grammars: Grammars) -> None:
    (stop,) = engine.contract.stop_ids
    progress = grammars.json_schema({"type": "integer"}).begin()
    allowed = progress.mask(320) == 0
    assert not allowed[stop]
    assert {chr(grammars.bytes_of(token)[0]) for token in np.flatnonzero(allowed)} <= set("-0123456789 ")
    assert not progress.take(engine.encode("7")[0]), "more digits may come"
    assert (progress.mask(320) == 0)[stop]
    biased = answer(engine, grammars.json_schema({"type": "integer"}), 50, logit_bias=((stop, 100.0),))
    assert biased.finish == "stop"
    assert type(json.loads(biased.text)) is int


def test_company_in_the_batch_does_not_change_json(engine: Engine, grammars: Grammars) -> None:
    grammar = grammars.json_schema({"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 6})
    wishes = [{"grammar": grammar, "temperature": 1.0, "seed": 1}, {"grammar": grammar}, {"temperature": 1.0, "seed": 1}]
    alone = [engine.generate([[7, 8]], 30, **wish)[0].ids for wish in wishes]
    running = [engine.submit([7, 8], Sampling(30, **wish)) for wish in wishes]  # type: ignore[arg-type]
    while engine.busy:
        engine.step()
    assert [generation.ids for generation in running] == alone


@pytest.mark.parametrize("schema", [{"const": "a<|eos|>b"}, {"enum": ["<|user|>"]}, {"properties": {"<|pad|>": {"const": 1}}}])
def test_the_text_of_a_control_token_is_spelt_by_ordinary_tokens(
    engine: Engine, grammars: Grammars, schema: dict[str, Any]
) -> None:
    if "properties" in schema:
        schema |= {"type": "object", "required": list(schema["properties"]), "additionalProperties": False}
    made = answer(engine, grammars.json_schema(schema), 60)
    assert made.finish == "stop"
    assert json.loads(made.text) in ["a<|eos|>b", "<|user|>", {"<|pad|>": 1}]
    (stop,) = engine.contract.stop_ids
    assert grammars.bytes_of(stop) == b"<|eos|>"
    assert grammars.is_control(stop)


def test_a_token_in_pointed_brackets_is_not_spoken_either(engine: Engine) -> None:
    tokenizer = json.loads(engine.tokenizer.to_str())
    for token in tokenizer["added_tokens"]:
        token["special"] = False
    grammars = Grammars(json.dumps(tokenizer), engine.decoder.vocab_size, engine.contract.stop_ids)
    assert answer(engine, grammars.json_schema({"const": "<|user|>"}), 60).text == '"<|user|>"'


FAULTS = [
    ({"type": "foo"}, "", "foo"),
    ({"properties": {"a": {"type": "array", "items": {"type": "foo"}}}}, "properties.a.items", "foo"),
    ({"$defs": {"x": {"uniqueItems": True}}, "properties": {"b": {"$ref": "#/$defs/x"}}}, "$defs.x", "uniqueItems"),
    ({"anyOf": [{"type": "string"}, {"type": "string", "pattern": "(["}]}, "anyOf.1", "unclosed character class"),
    ({"properties": {"a": {"type": "string", "pattern": "^(?=x)"}}}, "properties.a", "look-ahead"),
    ({"type": "integer", "minimum": 3, "maximum": 1}, "", "minimum"),
    ({"$ref": "https://example.org/x"}, "", "example.org"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "", "Use anyOf"),
    ({"if": {"type": "string"}}, "", "if"),
    ({"$ref": "#"}, "", "nothing satisfies"),
    ({"type": "string", "x-guidance": {"lenient": True}}, "", "x-guidance"),
]


@pytest.mark.parametrize(("schema", "place", "said"), FAULTS, ids=range(len(FAULTS)))
def test_a_faulty_schema_is_refused_with_the_place(grammars: Grammars, schema: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said) as refused:
        grammars.json_schema(schema)
    assert refused.value.place == place


@pytest.mark.parametrize("word", ["contains", "propertyNames", "dependentRequired", "unevaluatedProperties", "dependentSchemas"])
def test_words_that_cannot_be_followed_are_refused_with_the_place(grammars: Grammars, word: str) -> None:
    with pytest.raises(SchemaError, match=word) as refused:
        grammars.json_schema({"properties": {"a": {word: {}}}})
    assert refused.value.place == "properties.a"


def test_a_format_that_is_not_followed_is_a_remark_and_one_that_is_holds() -> None:
    remarks = {"type": "string", "format": "path"}
    named = {"properties": {"format": {"const": {"format": "path"}}, "b": {"anyOf": [remarks, {"items": remarks}]}}}
    without = {
        "properties": {"format": {"const": {"format": "path"}}, "b": {"anyOf": [{"type": "string"}, {"items": {"type": "string"}}]}}
    }
    assert schema_trial.without_remarks(named) == without
    assert schema_trial.examine(named)["fault"] == ""
    assert schema_trial.without_remarks({"format": "date"}) == {"format": "date"}
    for known in schema_trial.FORMATS:
        assert schema_trial.fault_of({"type": "string", "format": known}) == ""


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


HOSTILE = {
    "deep": nested(DEPTH),
    "very deep": nested(5000),
    "wide": {"anyOf": [{"const": i} for i in range(200_000)]},
    "large": {"enum": [f"value {i}" for i in range(20_000)]},
    "patterns that must all hold": {"allOf": [{"type": "string", "pattern": f".*{i}.*"} for i in range(30)]},
    "a large divisor": {"type": "integer", "multipleOf": 12345678},
    "thousands of optional fields": {
        "type": "object",
        "properties": {f"f{i}": {"type": "integer"} for i in range(2500)},
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_would_take_for_ever_is_refused_soon(grammars: Grammars, name: str) -> None:
    started = time.thread_time()
    with pytest.raises(SchemaError, match=r"too complex|at most|deeper than|more than"):
        grammars.json_schema(HOSTILE[name])
    assert time.thread_time() - started < 10, "the work is done elsewhere, and ended there"


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    schema = {"type": "string", "pattern": "^once$"}
    assert grammars.json_schema(schema) is grammars.json_schema(dict(schema))
