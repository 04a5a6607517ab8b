"""How long and how much memory: as last time where there was one, else a stated rule."""

from dataclasses import dataclass
from pathlib import Path

from llmspec.spec.model import PathBase, ScratchBase, SpecBase
from llmspec.stage import Product, Stage

TINY_PARAMETERS = 1_700_000
FLOPS = 40e9
"""What a training step of a small network reaches on one core with AVX-512, in fp32."""
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """Seconds and memory, and on what they rest."""

    seconds: float | None
    memory_mb: float | None
    basis: str


def estimate(stage: Stage) -> Estimate:
    """From the last manifest of the stage when there is one: that machine, that data, this epochs."""
    last = stage.head or next(reversed(stage.product.store.artifacts(stage.product.name, stage.name)), None)
    if last is None:
        return _rule(stage)
    scale, basis = 1.0, "as last time"
    if stage.name == "model":
        before = last.manifest.options.get("model", {}).get("training", {}).get("epochs")
        now = stage.product.spec.model.training.epochs
        if before and before != now:
            scale, basis = now / before, f"last time × {now / before:.3g} epochs"
    return Estimate(last.manifest.seconds * scale, last.manifest.peak_memory_mb, basis)


def _rule(stage: Stage) -> Estimate:
    if stage.product.spec.hosted and stage.name in ("features", "model", "onnx", "evaluation"):
        return _hosted_rule(stage)
    size = sum(Path(path).stat().st_size for files in stage.product.sources.values() for path in files)
    tokens = size / BYTES_PER_TOKEN
    match stage.name:
        case "data":
            return Estimate(4 + size / 3e6, 400 + size / 1e6 * 4, "rule: 4 s and 3 MB/s of sources")
        case "features":
            return Estimate(3 + tokens / 2e5, 300 + tokens / 1e5, "rule: 3 s and 200 k tokens/s")
        case "model":
            return _training_rule(stage.product, tokens)
        case "onnx":
            return Estimate(12, 1200, "rule: small models, 12 s")
        case "evaluation":
            return Estimate(3 + tokens / 2e4, 600, "rule: 3 s, and a tenth of the tokens at 2,000 tokens/s")
    return Estimate(None, None, "")


def _hosted_rule(stage: Stage) -> Estimate:
    """Waiting for somebody else's model, mostly."""
    rows = stage.product.spec.evaluation.rows
    if stage.name != "evaluation":
        return Estimate(2, 150, "rule: a hosted model, 2 s")
    if rows is None:
        return Estimate(None, None, "no earlier run to judge from")
    return Estimate(3 + rows * 2 / 4, 200, f"rule: {rows} answers, 2 s each and 4 at a time")


def _training_rule(product: Product, tokens: float) -> Estimate:
    match product.spec.model.base:
        case ScratchBase():
            parameters = TINY_PARAMETERS
        case PathBase(path=path):
            parameters = sum(f.stat().st_size for f in (product.loaded.path.parent / path).glob("*.safetensors")) // 4
        case SpecBase():
            artifact = product.base_product.stage("model").artifact if product.base_product else None
            parameters = (
                sum(f.bytes for name, f in artifact.manifest.files.items() if name.endswith(".safetensors")) // 4 if artifact else 0
            )
        case _:
            return Estimate(None, None, "no earlier run to judge from")
    seconds = 5 + 6 * parameters * tokens * product.spec.model.training.epochs / FLOPS
    return Estimate(seconds, 500 + parameters * 16 / 1e6, "rule: 6 × parameters × tokens at 40 GFLOP/s")
