"""Fields of OpenAI's that ask for nothing when they have these values. Clients send them unasked, so they are let through."""

from typing import Any

Neutral = dict[str, list[Any]]

COMMON: Neutral = {"store": [False], "metadata": [{}], "service_tier": ["auto", "default"]}
OfChat: Neutral = COMMON | {
    "tools": [[]],
    "tool_choice": ["none", "auto"],
    "parallel_tool_calls": [True, False],
    "functions": [[]],
    "function_call": ["none", "auto"],
    "modalities": [["text"]],
}
OfCompletion: Neutral = COMMON | {"best_of": [1], "suffix": [""]}
OfMessage: Neutral = {"annotations": [[]], "audio": [], "tool_calls": [[]], "function_call": []}
"""An answer's message is often sent back as it came, with all its empty fields."""


def without(value: Any, known: set[str], neutral: Neutral) -> Any:
    """A body without what asks for nothing."""
    if not isinstance(value, dict):
        return value
    return {
        name: item
        for name, item in value.items()
        if item is not None
        and (name in known or not any(item == each and type(item) is type(each) for each in neutral.get(name, [])))
    }


def described(schema: dict[str, Any], model: Any) -> None:
    """JSON Schema hook: say that null is as good as absent, and which values of other fields are let through."""
    needed = schema.get("required", [])
    for name, field in schema["properties"].items():
        if name not in needed and {"type": "null"} not in field.get("anyOf", []):
            schema["properties"][name] = _or_null(field)
    for name, values in model.neutral.items():
        schema["properties"][name] = {"enum": [*values, None], "description": "Only these values, which ask for nothing."}


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    outside: dict[str, Any] = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
    return {"anyOf": [field, {"type": "null"}], **outside}
