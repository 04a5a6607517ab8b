"""The JSON Schema that editors complete from: the models, their docstrings, and the short forms that YAML allows."""

import copy
import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from llmspec.choice import OneOf, Options
from llmspec.language import fields
from llmspec.section import Section
from llmspec.spec import Spec
from llmspec.spec.spec import Target

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{(var|env)\."}
"""`${var.x}` where a number or a choice is expected."""
_OVERLAY = "At"


def schema() -> dict[str, Any]:
    """The schema of a whole file."""
    made: dict[str, Any] = Spec.model_json_schema(schema_generator=_Generator, mode="validation")
    _overlay_targets(made)
    return {"$schema": DIALECT, "title": "llm.yaml", **made}


def schema_text() -> str:
    """The file that `llmspec schema` writes."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """pydantic's schema, with our docstrings and short forms."""

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        made = super().generate(schema, mode)
        tidied: JsonSchemaValue = _tidied(made)
        return tidied

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        cls = schema["cls"]
        made = super().model_schema(schema)
        if issubclass(cls, Section):
            for name, doc in fields.docs(cls).items():
                if name in made.get("properties", {}):
                    made["properties"][name] = {**made["properties"][name], "description": doc}
        if issubclass(cls, OneOf):
            return _one_named(cls, made)
        if issubclass(cls, Options):
            return _options(cls, made)
        return made

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return _or_reference(super().int_schema(schema))

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return _or_reference(super().float_schema(schema))

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return _or_reference(super().bool_schema(schema))

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return _or_reference(super().literal_schema(schema))

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        made = super().str_schema(schema)
        return _or_reference(made) if "pattern" in made else made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        keys = schema.get("keys_schema", {})
        while "schema" in keys:  # what a key must be like lies below its validators
            keys = keys["schema"]
        names = keys.get("expected") or ()
        if names or keys.get("pattern"):
            made["propertyNames"] = {"enum": list(names)} if names else {"pattern": keys["pattern"]}
        return made


def _or_reference(made: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [made, _REFERENCE]}


def _options(cls: type[Options], made: JsonSchemaValue) -> JsonSchemaValue:
    """`drop_missing: [answer]` stands for `drop_missing: {columns: [answer]}`; nothing stands for the defaults."""
    forms: list[JsonSchemaValue] = [{key: value for key, value in made.items() if key != "description"}]
    if cls.main is not None:
        forms.append(made["properties"][cls.main])
    if not made.get("required"):
        forms.append({"type": "null"})
    return {"anyOf": forms, "description": made.get("description", "")}


def _one_named(cls: type[OneOf], made: JsonSchemaValue) -> JsonSchemaValue:
    """A step or a guard is a name, or one name with its options."""
    required = {name for name, field in cls.model_fields.items() if _needs_options(field.annotation)}
    steps = {name: _only_step(item) for name, item in made["properties"].items()}
    one = {"type": "object", "properties": steps, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [{"enum": [name for name in steps if name not in required]}, one], "description": made.get("description", "")}


def _needs_options(annotation: Any) -> bool:
    return any(field.is_required() for section in fields.Meant(annotation).sections() for field in section.model_fields.values())


def _only_step(item: JsonSchemaValue) -> JsonSchemaValue:
    reference = next(form for form in item["anyOf"] if "$ref" in form)
    return {**reference, "description": item.get("description", "")}


def _tidied(value: Any) -> Any:
    """pydantic titles each field with its own name, which tells nobody anything, and leaves bounds of an optional duration or size
    in words of its own, which no editor knows: those are text in YAML."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _tidied(item) for key, item in value.items() if not _says_nothing(key, item)}


def _says_nothing(key: str, item: Any) -> bool:
    return (key == "title" and isinstance(item, str)) or (key in ("ge", "gt", "le", "lt") and isinstance(item, int | float))


def _overlay_targets(made: dict[str, Any]) -> None:
    """Under a target each section may be written in part; what is in a list is written whole."""
    definitions = made["$defs"]
    target = definitions[Target.__name__]["properties"]
    for name in Target.model_fields:
        if name in made["properties"]:
            doc = target[name].get("description", "")
            whole = _partial(made["properties"][name], definitions)
            target[name] = {**{key: value for key, value in whole.items() if key != "default"}, "description": doc}


def _partial(value: Any, definitions: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return [_partial(item, definitions) for item in value] if isinstance(value, list) else value
    made: dict[str, Any] = {}
    for key, item in value.items():
        if key == "$ref":
            made[key] = _partial_definition(item.rpartition("/")[2], definitions)
        elif key == "properties":
            made[key] = {name: _partial(inner, definitions) for name, inner in item.items()}
        elif key in ("anyOf", "oneOf", "allOf", "additionalProperties"):
            made[key] = _partial(item, definitions)
        elif key != "required":
            made[key] = copy.deepcopy(item)
    return made


def _partial_definition(name: str, definitions: dict[str, Any]) -> str:
    partial = f"{name}{_OVERLAY}Target"
    if partial not in definitions:
        definitions[partial] = {}
        definitions[partial].update(_partial(definitions[name], definitions))
    return f"#/$defs/{partial}"
