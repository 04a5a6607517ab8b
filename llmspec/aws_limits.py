"""Limits that AWS writes into the description of its own calls, and that its client does not look at."""

import re
from collections.abc import Iterator
from typing import Any


def faults(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Whatever of a request is longer, more or otherwise than its shape allows."""
    match shape.type_name:
        case "structure":
            for name, part in value.items():
                yield from faults(shape.members[name], part, f"{where}.{name}" if where else name)
        case "list":
            yield from _outside(shape, len(value), where, "entries")
            for number, item in enumerate(value):
                yield from faults(shape.member, item, f"{where}[{number}]")
        case "map":
            yield from _outside(shape, len(value), where, "entries")
            for name, item in value.items():
                yield from faults(shape.key, name, f"{where}.{name}")
                yield from faults(shape.value, item, f"{where}.{name}")
        case "string":
            yield from _outside(shape, len(value), where, "characters")
            yield from _unlike(shape, value, where)
        case "integer" | "long":
            yield from _outside(shape, value, where, "")


def _outside(shape: Any, number: int, where: str, unit: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and number > most:
        yield f"{where}: {number:,} {unit}".rstrip() + f", and AWS takes {most:,}"
    if least is not None and number < least:
        yield f"{where}: {number:,} {unit}".rstrip() + f", and AWS wants {least:,}"


def _unlike(shape: Any, value: str, where: str) -> Iterator[str]:
    pattern = shape.metadata.get("pattern", "")
    if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):  # Python has no \p
        yield f"{where}: {value[:60]!r} is not what AWS takes ({pattern[:80]})"
