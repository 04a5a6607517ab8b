"""Which stage reads whose artifacts and which parts of the spec, and what of these parts is in a key."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llmspec.card import Card
from llmspec.language import fields
from llmspec.registry import name_of
from llmspec.secrets import names_in
from llmspec.section import MayHoldSecret, OutsideKey, Section

if TYPE_CHECKING:
    from llmspec.spec import Spec

NEEDS: Mapping[str, tuple[str, ...]] = {
    "data": (),
    "features": ("data",),
    "model": ("features",),
    "onnx": ("model", "features"),
    "evaluation": ("onnx", "data"),
    "endpoint": ("onnx", "evaluation"),
    "monitors": ("endpoint",),
}
"""Whose artifacts a stage reads."""


def upstream(stage: str) -> set[str]:
    """All that a stage is made from, by way of others as well."""
    return set(NEEDS[stage]).union(*map(upstream, NEEDS[stage]))


READS: Mapping[str, tuple[str, ...]] = {
    "data": ("data.engine", "data.sources", "data.clean", "data.split"),
    "features": ("features", "data.template", "model.base", "endpoint.system_prompt"),
    "model": ("model",),
    "onnx": ("onnx",),
    "evaluation": ("evaluation", "endpoint.limits.input_tokens", "endpoint.limits.output_tokens"),
    "endpoint": ("endpoint",),
    "monitors": ("monitors.engine", "monitors.every", "monitors.alarms"),
}
"""Which parts of the spec a stage reads: a change anywhere else cannot reach it."""
HOSTED_READS: Mapping[str, tuple[str, ...]] = {
    **READS,
    "features": ("features.engine", "data.template", "model.prompt", "endpoint.system_prompt"),
    "model": ("model.engine", "model.base", "region"),
    "onnx": ("onnx.engine",),
}
"""The same where the model is hosted: another region is another deployment of it, so it is in the key."""


def keyed(value: Any) -> Any:
    """The part of a section that changes what comes out, as JSON. Absent is absent, so a new optional key moves no old one."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        kept = {name for name, info in fields.items() if not any(isinstance(mark, OutsideKey) for mark in info.metadata)}
        inner = {name: keyed(item) for name in fields if name in kept and (item := getattr(value, name)) is not None}
        return {name_of(type(value)): inner} if isinstance(value, Card) else inner
    if isinstance(value, dict):
        return {key: keyed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [keyed(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def picked(tree: dict[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Only these dotted paths of a tree; one that is absent stays absent."""
    out: dict[str, Any] = {}
    for path in paths:
        *parents, last = path.split(".")
        source, target = tree, out
        for parent in parents:
            source = source.get(parent) or {}
            target = target.setdefault(parent, {})
        if last in source:
            target[last] = source[last]
    return out


def secret_paths(value: Any) -> Iterator[fields.Path]:
    """Where `${secret.NAME}` stands in a field that may hold one."""
    return (path for path, text in _texts(value) if names_in(text) and _may_hold_secret(path))


def plain_secrets(value: Any) -> Iterator[fields.Path]:
    """Where a field that may hold a secret says what it is, for everybody who reads the file. An address of Spark holds none
    unless a token is in it."""
    for path, text in _texts(value):
        if not names_in(text) and not (text.startswith("sc://") and "token=" not in text) and _may_hold_secret(path):
            yield path


def _may_hold_secret(path: fields.Path) -> bool:
    meant = fields.at(path)
    return meant is not None and meant.marked(MayHoldSecret) is not None


def _texts(value: Any, path: fields.Path = ()) -> Iterator[tuple[fields.Path, str]]:
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, item in items:
        yield from _texts(item, (*path, part))


def secret_of(spec: "Spec", stage: str) -> str | None:
    """The first secret that a job of this stage would be told, by its place in the spec."""
    read = picked(spec.model_dump(mode="json"), READS[stage])
    return next((".".join(map(str, path)) for path in secret_paths(read)), None)
