"""The ground every model of the language stands on: frozen, and an unknown key is an error."""

import difflib
import itertools
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_core import PydanticCustomError

STAGES = ("data", "features", "model", "onnx", "evaluation", "endpoint", "monitors")
"""The seven stages, in order. The same words name keys, files, assets, folders."""
KEPT = STAGES[:5]
"""Those whose artifacts plans compare and reuse. An endpoint has releases, and monitors look anew each time."""


class Section(BaseModel):
    """A piece of the spec. It holds what was asked for and does no I/O."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    @property
    def said(self) -> list[str]:
        """Fields with another value than their default, in order: what a spec that says all of its defaults still says."""
        fields = type(self).model_fields.items()
        return [name for name, field in fields if getattr(self, name) != field.get_default(call_default_factory=True)]


def wrong(fault: str, cure: str = "", at: str = "", word: str = "") -> PydanticCustomError:
    """What a validator raises: the fault, its cure, the field it is about when that is deeper than the model, and the
    word or key in the value that the caret should be under."""
    return PydanticCustomError("llmspec", "{fault}", {"fault": fault, "cure": cure, "at": at, "word": word})


def asked_once(asked: Sequence[object], field: str) -> None:
    """A validator's: nothing asks the same as what stands before it in the list, however it is written."""
    for number, one in enumerate(asked):
        if one in (before := asked[:number]):
            raise wrong(f"it asks the same as '{before[before.index(one)]}'", "keep one of them", f"{field}[{number}]")


def did_you_mean(word: str, known: Iterable[str], listed: bool = True) -> str:
    """The cure for a word that is not known: the nearest one, and all of them when they are few."""
    return _nearest(word[:80], tuple(str(name) for name in itertools.islice(known, 200)), listed)


@lru_cache(maxsize=500)
def _nearest(word: str, names: tuple[str, ...], listed: bool) -> str:
    near = difflib.get_close_matches(word, names, n=1) or [name for name in names if name == word.lower()]
    parts = [f"did you mean '{near[0]}'?"] if near else []
    if listed and names and len(names) <= 20:
        parts.append(f"(known: {', '.join(names)})")
    return " ".join(parts)


class Like:
    """Says in words what a field's pattern asks for."""

    def __init__(self, words: str):
        self.words = words


class OutsideKey:
    """Marks a field that changes how or where, never what comes out: it stays out of the key."""


class MayHoldSecret:
    """Marks a field that may hold `${secret.NAME}`: it is resolved only inside the process that uses it."""


SecretText = Annotated[str, MayHoldSecret()]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 3650 * 86400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: Any) -> Any:
    """'5m' -> 300.0 seconds. A bare number has no unit, so it is refused."""
    if isinstance(value, float | int) and not isinstance(value, bool) and value == 0:
        return 0.0
    if not isinstance(value, str) or len(value) > 40 or not (match := _DURATION.fullmatch(value.strip())):
        raise wrong(f"{str(value)[:60]!r} is not a duration", "write a number and a unit: 500ms, 30s, 5m, 2h, 30d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST:
        raise wrong(f"{value} is longer than ten years", "write at most 3650d")
    return seconds


def format_duration(seconds: float) -> str:
    """300.0 -> '5m': the largest unit that it is a whole number of. `parse_duration` reads it back."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str), PlainSerializer(format_duration)]
"""Seconds inside, '5m' in YAML and in JSON."""


_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|TB)")


def parse_size(value: Any) -> Any:
    """'2GB' -> 2000000000 bytes. A bare number has no unit, so it is refused."""
    if not isinstance(value, str) or len(value) > 40 or not (match := _SIZE.fullmatch(value.strip())):
        raise wrong(f"{str(value)[:60]!r} is not a size", "write a number and a unit: 500MB, 2GB, 1.5GB")
    size = round(float(match[1]) * _SIZES[match[2]])
    if size > 1000 * _SIZES["TB"]:
        raise wrong(f"{value} is more than any machine has", "write at most 1000TB")
    return size


def format_size(size: int) -> str:
    """2000000000 -> '2GB': the largest unit that it is a whole number of. `parse_size` reads it back."""
    unit = next((unit for unit in ("TB", "GB", "MB") if size >= _SIZES[unit] and size % _SIZES[unit] == 0), "KB")
    return f"{size / _SIZES[unit]:.3f}".rstrip("0").rstrip(".") + unit


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=str), PlainSerializer(format_size)]
"""Bytes inside, '2GB' in YAML and in JSON."""


def one_named(value: Any) -> Any:
    """'strip_html' -> {'strip_html': {}}: a bare name is the choice with all its defaults."""
    return {value: {}} if isinstance(value, str) else value
