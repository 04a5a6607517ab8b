"""Temporary: replaced by the language branch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmspec.errors import Problem
from llmspec.spec import Spec


@dataclass(frozen=True)
class Loaded:
    spec: Spec
    path: Path
    target: str
    targets: tuple[str, ...] = ()

    def at(self, path: str) -> str:
        return str(self.path)

    def excerpt(self, key: str) -> str:
        return ""

    def problem(self, where: str, fault: str, cure: str = "") -> Problem:
        return Problem(str(self.path), 1, 1, where, fault, cure)


def load(path: Path | str, target: str | None = None, env: Any = None) -> Loaded:
    path = Path(path)
    data = yaml.safe_load(path.read_text())
    for name, overlay in (data.get("targets") or {}).items():
        if name == target or (target is None and overlay.get("default")):
            data.update({k: v for k, v in overlay.items() if k != "default"})
    return Loaded(Spec.model_validate(data), path, target or "local", tuple(data.get("targets") or {}))
