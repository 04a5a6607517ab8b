"""What a stage reads differently than the last time, value by value, each with its line in the spec."""

from dataclasses import dataclass
from typing import Any

from llmspec.job import digest_of
from llmspec.registry import name_of
from llmspec.release import Release
from llmspec.stage import Product, Stage
from llmspec.store import Manifest


@dataclass(frozen=True)
class Change:
    """One value that differs from the last time."""

    path: str
    before: Any
    after: Any
    at: str = ""
    """`specs/x.yaml:21`."""

    def __str__(self) -> str:
        return f"{self.path} {_short(self.before)} → {_short(self.after)}"


def differences(stage: Stage, before: Manifest) -> list[Change]:
    """What the stage itself reads differently than last time: options, engine, sources."""
    changes = compared(stage.product, before.options, stage.keyed)
    engine = name_of(type(stage.engine))
    if before.engine == engine and before.version != stage.engine.version:
        changes.append(Change(f"engine {engine} version", before.version, stage.engine.version))
    if stage.name == "data":
        changes += _source_changes(stage.product, before)
    return changes


def _source_changes(product: Product, before: Manifest) -> list[Change]:
    changes = []
    for name, files in product.sources.items():
        old = sorted(before.sources.get(name, {}).values())
        if old and old != sorted(files.values()):
            changes.append(
                Change(
                    f"source {name}",
                    f"{len(old)} files {digest_of(old)[:6]}",
                    f"{len(files)} files {digest_of(sorted(files.values()))[:6]}",
                )
            )
    return changes


def changed_inputs(stage: Stage, before: Manifest) -> list[str]:
    """The stages above that gave something else than last time."""
    return [name for name, item in stage.job.inputs.items() if before.inputs.get(name) != item.digest] or ["its input"]


def artifact_change(now: Release, asked: Release) -> list[str]:
    """Whether another model would be served, in words."""
    return [] if now.artifact_digest == asked.artifact_digest else [f"onnx {now.artifact_key[:6]} → {asked.artifact_key[:6]}"]


def compared(product: Product, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Every path at which two trees differ, with its line in the spec."""
    old, new = _flat(before), _flat(after)
    paths = [path for path in new if old.get(path) != new[path]] + [path for path in old if path not in new]
    return [Change(path, old.get(path), new.get(path), product.loaded.at(path)) for path in paths]


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """{'model': {'epochs': 3}} -> {'model.epochs': 3}; an empty mapping or list is a value."""
    if isinstance(tree, dict) and tree:
        return {p: v for key, item in tree.items() for p, v in _flat(item, f"{path}.{key}" if path else str(key)).items()}
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        return {p: v for number, item in enumerate(tree) for p, v in _flat(item, f"{path}[{number}]").items()}
    return {path: tree}


def _short(value: Any) -> str:
    text = "none" if value is None else "on" if value == {} else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
