"""How long and how much memory: as last time where there was one, else a stated rule."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.base_size import counted, held
from llmspec.machines import machine
from llmspec.spec.model import HubBase, SpecBase
from llmspec.stage import Product, Stage

FLOPS = 40e9
"""What a training step of a small network reaches on one core with AVX-512, in fp32."""
REACHED = {"full": 0.25, "lora": 0.25, "qlora": 0.15}
"""Share of a GPU's peak that training is thought to reach: careful, and measured by nobody here. Four bits have to become sixteen
before each product."""
START, START_IN_CLOUD = 5, 60
"""Seconds until the tools are there; `onnx` finds them loaded."""
AROUND = 25e6
"""Bytes a second at which a base in 16 bits is fetched, loaded, merged with its adapter and saved."""
COMPARED = 8192
"""Tokens that `onnx` compares at most: `MOST_TOKENS` of backends/work/parity.py, which this light module does not load."""
WRITING = {"fp32": 2e-8, "fp16": 2e-8, "int8": 2e-8, "int4": 3e-7}
"""Seconds for each parameter until the graph is written; int4 searches its scales."""
ANSWERING = 5e10
"""Parameters a second through which the tokens of answers go, 16 at once on two cores, in int8: 400 tokens/s at 135 M."""
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
            return _export_rule(stage.product, tokens)
        case "evaluation":
            return _evaluation_rule(stage.product, tokens)
    return Estimate(None, None, "")


def _hosted_rule(stage: Stage) -> Estimate:
    """Waiting for somebody else's model, mostly."""
    rows = stage.product.spec.evaluation.rows
    if stage.name != "evaluation":
        return Estimate(2, 150, "rule: a hosted model, 2 s")
    if rows is None:
        return Estimate(None, None, "no earlier run to judge from")
    return Estimate(3 + rows * 2 / 4, 200, f"rule: {rows} answers, 2 s each and 4 at a time")


def _export_rule(product: Product, tokens: float) -> Estimate:
    """Mostly the comparison: the model and the artifact both read the same held-out rows, on a processor."""
    size = counted(product)
    if size is None:
        return Estimate(None, None, _unsized(product))
    compared = min(COMPARED, tokens * product.spec.data.split.validation)
    start = START_IN_CLOUD if product.spec.place("onnx").cloud else 1
    writing = start + size * WRITING[product.precision[0]]
    said = f"rule: {writing:.0f} s, and {_short(compared)} tokens twice through {_short(size)} parameters at 40 GFLOP/s"
    return Estimate(writing + 4 * size * compared / FLOPS, 500 + size * 12.5 / 1e6, said)


def _evaluation_rule(product: Product, tokens: float) -> Estimate:
    size = counted(product)
    if size is None:
        return Estimate(None, None, _unsized(product))
    rate = min(2e3, ANSWERING / size)
    said = f"rule: 3 s, and a tenth of the tokens at {rate:,.0f} tokens/s"
    return Estimate(3 + tokens / 10 / rate, 600 + size * 4 / 1e6, said)


def _training_rule(product: Product, tokens: float) -> Estimate:
    spec, size = product.spec, counted(product)
    if size is None:
        return Estimate(None, None, _unsized(product))
    method, tokens = spec.model.method, tokens * spec.model.training.epochs
    rate, said = _rate(product, method)
    if rate is None:
        return Estimate(None, None, said)
    around = (START_IN_CLOUD if spec.place("model").cloud else START) + size * 2 / AROUND
    what = f"6 × {_short(size)} parameters × {_short(tokens)} tokens {said}"
    return Estimate(
        6 * size * tokens / rate + around, 500 + held(size, method) / 1e6, f"rule: {what}, and {around:.0f} s around it"
    )


def _short(number: float) -> str:
    """'1.7 M', '136 k'."""
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {word}"
    return f"{number:.0f}"


def _unsized(product: Product) -> str:
    match product.spec.model.base:
        case HubBase(hub=name):
            return f"nothing says how large {name} is"
        case SpecBase(spec=other):
            return f"the model of {other} is not made yet"
    return "the base has no file of weights"


def _rate(product: Product, method: str) -> tuple[float | None, str]:
    """Products a second, and the words for it. Training uses one GPU, and one core where it has none."""
    place: Any = product.spec.place("model")
    instance = getattr(place, "instance", None)
    found = machine(instance) if instance else None
    if instance and found is None:
        return None, f"nothing is known of {instance}"
    if found and found.gpus:
        share = REACHED[method]
        return share * found.teraflops * 1e12, f"at {share * 100:.0f} % of the {found.teraflops} TFLOP/s of its {found.gpu}"
    if not place.cloud and shutil.which("nvidia-smi"):
        return None, "nothing is known of this machine's GPU"
    return FLOPS, "at 40 GFLOP/s, without a GPU"
