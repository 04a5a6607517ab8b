"""`${secret.NAME}` stays a reference until the process that uses it asks for the value here."""

import json
import os
import re
from collections.abc import Iterable
from typing import Any

from llmspec.errors import PlaceError

REFERENCE = re.compile(r"\$\{secret\.([A-Za-z_][A-Za-z0-9_]*)\}")
_seen: set[str] = set()


def lookup(name: str) -> str:
    """The value, from the environment of the process that uses it."""
    value = os.environ.get(name)
    if not value:
        raise PlaceError(f"secret {name} is not set: export {name}=… where llmspec runs")
    _seen.add(value)
    return value


def resolve_at(tree: dict[str, Any], paths: Iterable[tuple[str | int, ...]]) -> dict[str, Any]:
    """The same tree with the references at these paths replaced: elsewhere `${secret.X}` is text like any other."""
    tree = json.loads(json.dumps(tree))
    for path in paths:
        holder: Any = tree
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = resolve(holder[path[-1]])
    return tree


def resolve(value: Any) -> Any:
    """The same structure with every reference replaced by its value."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: lookup(match[1]), value)
    if isinstance(value, dict):
        return {key: resolve(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item) for item in value]
    return value


def stood_in(text: str) -> str:
    """For a look that changes nothing: a secret that is not set is its name."""
    return REFERENCE.sub(lambda match: match[1] if match[1] in unset(text) else lookup(match[1]), text)


def unset(value: Any) -> list[str]:
    """The secrets that a structure refers to and that are not set here."""
    return sorted(name for name in names_in(value) if not os.environ.get(name))


def scrub(text: str) -> str:
    """The text without any secret that this process has resolved."""
    for value in sorted(_seen, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def names_in(value: Any) -> set[str]:
    """The names of all secrets that a structure refers to."""
    if isinstance(value, str):
        return set(REFERENCE.findall(value))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for item in items for name in names_in(item)}
