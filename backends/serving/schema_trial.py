"""Whether a grammar can be made of a JSON Schema. As a program: reads one, and says `{"place": …, "fault": …}`.

Some small schemas take for ever (thirty patterns that must all hold): who cannot know that before tries them in a process that
can be ended. It imports llguidance only, so that it is there in a tenth of a second.
"""

import json
import os
import resource
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import llguidance

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

FORM: "JsonCompileOptions" = {"whitespace_pattern": " ?"}
"""One blank at most between JSON's parts: a model that loves white space would otherwise never come to the end."""
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
"""What one step may cost: about 20 ms, for the worst schema that somebody can think of."""
SECONDS, MEMORY = 2, 2 * 2**30
"""What the trial may take of the processor, and of memory in bytes."""
TOKENS = llguidance.LLTokenizer("byte")
"""What takes long does so with any tokens."""
ADVICE = "Enable 'coerce_one_of' option to approximate oneOf with anyOf"
"""What llguidance says to programmers; ours is for who wrote the schema."""
NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTED_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
ONE_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
FORMATS = {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
"""Those that are followed. Any other is a remark to whoever reads the schema; pydantic writes ones of its own."""


def grammar_of(schema: dict[str, Any]) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(json.dumps(without_remarks(schema)), overrides=FORM)


def without_remarks(schema: Any) -> Any:
    """The schema without formats that nobody follows. A property may have that name, and a value too: those stay."""
    if not isinstance(schema, dict):
        return schema
    made = {word: value for word, value in schema.items() if word != "format" or not isinstance(value, str) or value in FORMATS}
    for word, value in made.items():
        if word in NAMED_SCHEMAS and isinstance(value, dict):
            made[word] = {name: without_remarks(inner) for name, inner in value.items()}
        elif word in LISTED_SCHEMAS and isinstance(value, list):
            made[word] = [without_remarks(inner) for inner in value]
        elif word in ONE_SCHEMA:
            made[word] = without_remarks(value)
    return made


def examine(schema: dict[str, Any]) -> dict[str, str]:
    """`fault` is empty when a grammar can be made; `place` is the innermost part that has the same fault by itself."""
    fault = fault_of(schema)
    if not fault:
        return {"place": "", "fault": ""}
    place, part = "", schema
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    while found := next((each for each in parts(part) if fault_of(shared | each[1]) == fault), None):
        place, part = f"{place}.{found[0]}".lstrip("."), found[1]
    return {"place": place, "fault": fault}


def fault_of(schema: dict[str, Any]) -> str:
    limits = llguidance.LLParserLimits(**LIMITS)
    said = llguidance.LLMatcher(TOKENS, grammar_of(schema), log_level=0, limits=limits).get_error()
    return textwrap.shorten(said.replace(ADVICE, "Use anyOf"), 300)


def parts(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas directly inside a schema, with the way to them."""
    for word, value in schema.items():
        if word in NAMED_SCHEMAS and isinstance(value, dict):
            yield from ((f"{word}.{name}", inner) for name, inner in value.items() if isinstance(inner, dict))
        elif word in LISTED_SCHEMAS and isinstance(value, list):
            yield from ((f"{word}.{at}", inner) for at, inner in enumerate(value) if isinstance(inner, dict))
        elif word in ONE_SCHEMA and isinstance(value, dict):
            yield word, value


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdout.write(json.dumps(examine(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
