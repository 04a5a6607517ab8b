"""Property values as Pulumi's protocol has them: secrets and unknowns are marked inside plain JSON."""

from collections.abc import Callable
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(SIGNATURE) == SECRET


def each_secret(value: Any, do: Callable[[dict[str, Any]], Any]) -> Any:
    """The same value with every secret in it replaced."""
    if is_secret(value):
        return do(value)
    if isinstance(value, dict):
        return {name: each_secret(item, do) for name, item in value.items()}
    return [each_secret(item, do) for item in value] if isinstance(value, list) else value


def bare(value: Any) -> Any:
    """Without the marks, as a provider sees it; whole numbers are whole again."""
    if is_secret(value):
        return bare(value["value"])
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items()}
    if isinstance(value, list):
        return [bare(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def marked(outputs: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """What came in as a secret goes out as one."""
    hidden = {name for name, value in inputs.items() if is_secret(value)}
    return {name: {SIGNATURE: SECRET, "value": value} if name in hidden else value for name, value in outputs.items()}


def blinded(value: Any) -> Any:
    return each_secret(value, lambda _: "[secret]")
