"""The ground every model of the language stands on: frozen, and an unknown key is an error."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_core import PydanticCustomError

STAGES = ("data", "features", "model", "onnx", "evaluation", "endpoint", "monitors")
"""The seven stages, in order. The same words name keys, files, assets, folders."""


class Section(BaseModel):
    """A piece of the spec. It holds what was asked for and does no I/O."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def wrong(fault: str, cure: str = "", at: str = "") -> PydanticCustomError:
    """What a validator raises: the fault, its cure, and the field it is about when that is deeper than the model."""
    return PydanticCustomError("llmspec", "{fault}", {"fault": fault, "cure": cure, "at": at})


class OutsideKey:
    """Marks a field that changes how or where, never what comes out: it stays out of the key."""


class MayHoldSecret:
    """Marks a field that may hold `${secret.NAME}`: it is resolved only inside the process that uses it."""


SecretText = Annotated[str, MayHoldSecret()]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: Any) -> Any:
    """'5m' -> 300.0 seconds. A bare number has no unit, so it is refused."""
    if isinstance(value, float | int) and not isinstance(value, bool) and value == 0:
        return 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise wrong(f"{value!r} is not a duration", "write a number and a unit: 500ms, 30s, 5m, 2h, 30d")


def format_duration(seconds: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms"


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str), PlainSerializer(format_duration)]
"""Seconds inside, '5m' in YAML and in JSON."""


def one_named(value: Any) -> Any:
    """'strip_html' -> {'strip_html': {}}: a bare name is the choice with all its defaults."""
    return {value: {}} if isinstance(value, str) else value
