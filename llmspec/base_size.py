"""How large a base is: what its name says, its files, or the manifest of whoever trained it. Nothing is fetched to find out."""

import json
import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from llmspec.spec import Spec
from llmspec.spec.model import HubBase, PathBase, ScratchBase, SpecBase

if TYPE_CHECKING:
    from llmspec.stage import Product

TINY = 1.7e6
WEIGHTS = {"full": 4 + 4 + 8, "lora": 2.0, "qlora": 0.6}
"""Bytes for each parameter of the base: full holds fp32 weights, gradients and two moments; qlora 4 bits and their scales."""
ADAPTER = 0.02 * 16
"""An adapter has about 2 % of the base's parameters, each with gradient and moments in fp32."""


def parameters(spec: Spec) -> float | None:
    """Of the base: as its name says it. None when the name says nothing."""
    base = spec.model.base
    if isinstance(base, ScratchBase):
        return TINY
    named = (
        re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z])", base.hub, re.IGNORECASE)
        if isinstance(base, HubBase)
        else []
    )
    return float(named[-1][0]) * (1e9 if named[-1][1] in "Bb" else 1e6) if named else None


def counted(product: "Product") -> float | None:
    """Of the base, where its files or its manifest can be looked at, too."""
    match product.spec.model.base:
        case PathBase(path=path):
            return sum(map(_elements, (product.loaded.path.parent / path).glob("*.safetensors"))) or None
        case SpecBase():
            artifact = product.base_product.stage("model").artifact if product.base_product else None
            return artifact.manifest.metrics.get("parameters") if artifact else None
    return parameters(product.spec)


def held(size: float, method: str) -> float:
    """Bytes that a training holds before the first row: the base, and what is learned with its gradients and moments."""
    return size * (WEIGHTS[method] + (ADAPTER if method != "full" else 0))


def _elements(file: Path) -> int:
    """A file of safetensors begins with the length of its table, and the table."""
    with file.open("rb") as opened:
        table = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(prod(tensor["shape"]) for name, tensor in table.items() if name != "__metadata__")
