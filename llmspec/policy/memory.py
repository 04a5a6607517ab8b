"""What fits: the base, its method and its batch into a GPU; the artifact into a copy's memory and disk. Rules, no promise."""

from collections.abc import Iterator

from llmspec.base_size import TINY, held, parameters
from llmspec.machines import GIB
from llmspec.policy.finding import Fault, View, rule

AT_ONCE = 3_500
"""Tokens that go through at once at most, with a vocabulary of about 150 k: see `Machine.micro_tokens` of the training."""
SCORES = 4e9
"""Scores over the vocabulary and their gradient, for so many tokens."""
ROOM = 1.5e9
"""CUDA itself, and what lies fragmented."""
SERVED = {"fp32": 4.0, "fp16": 2.0, "int8": 1.1, "int4": 0.65}
BESIDE = 1.5e9
"""The server's process, its tokenizer and a modest key-value memory."""


def activations(size: float, tokens: int) -> float:
    """Bytes that a backward pass keeps: 34 for each token, unit of width and layer; a model is about 128 times as wide as deep."""
    width: float = (size * 128 / 12) ** (1 / 3)
    return 34 * width * max(1.0, width / 128) * tokens


@rule("training-memory", "error", "A job that does not fit fails after it was started, loaded and paid for.")
def training_memory(view: View) -> Iterator[Fault]:
    found = view.machine("model")
    if found is None or not found.gpus:
        return
    where, size = view.written(f"places.model.{view.name('model')}.instance", "places.model"), parameters(view.spec)
    instance, method = view.option("model", "instance"), view.spec.model.method
    if size is None:
        fault = f"nothing says how large the base is, so nobody knows whether it fits {instance}"
        yield Fault(where, fault, "waive this once it has been tried", "warning")
        return
    before = held(size, method) + ROOM
    tokens = max(min(view.spec.model.training.batch_tokens, AT_ONCE), min(view.spec.features.max_tokens, AT_ONCE))
    needed = before + activations(size, tokens) + (SCORES * tokens / AT_ONCE if size > TINY else 0)
    said = f"{size / 1e9:.2g} B parameters with method {method}"
    if before > found.gpu_bytes:
        fault = f"{said} need about {before / GIB:.0f} GiB before the first row, and a GPU of {instance} has {found.gpu_gib}"
        yield Fault(where, fault, "use a larger GPU, or method: qlora")
    elif needed > found.gpu_bytes:
        fault = (
            f"{said} and {tokens:,} tokens at once need about {needed / GIB:.0f} GiB, and a GPU of {instance} has {found.gpu_gib}"
        )
        yield Fault(where, fault, "use a larger GPU, or lower model.training.batch_tokens", "warning")


@rule("endpoint-memory", "error", "A copy that does not fit never answers, and the release never goes live.")
def endpoint_memory(view: View) -> Iterator[Fault]:
    size, room, disk = parameters(view.spec), _room(view), view.option("endpoint", "disk")
    if not view.endpoint or size is None:
        return
    precision, _ = view.spec.onnx.precision_for(view.spec.endpoint.limits.concurrency)
    weights, said = size * SERVED[precision], f"{size / 1e9:.2g} B parameters in {precision}"
    if room is not None and weights + BESIDE > room:
        fault = f"{said} need about {(weights + BESIDE) / 1e9:.1f} GB, and a copy has {room / 1e9:.1f}"
        yield Fault("places.endpoint", fault, "choose more memory, or a smaller onnx.precision")
    if disk is not None and weights > disk:
        where = view.written(f"places.endpoint.{view.name('endpoint')}.disk", "places.endpoint")
        fault = f"{said} are about {weights / 1e9:.1f} GB in files, and a copy's disk has {disk / 1e9:.1f}"
        yield Fault(where, fault, "choose more disk, or a smaller onnx.precision")


def _room(view: View) -> float | None:
    """Memory of one copy: the GPU's where it computes there, else what the place gives."""
    if view.option("endpoint", "form") == "serverless":
        return float(view.option("endpoint", "memory") or 2e9)
    found = view.machine("endpoint")
    precision, _ = view.spec.onnx.precision_for(view.spec.endpoint.limits.concurrency)
    if found and found.gpus and precision in ("fp32", "fp16") and view.option("endpoint", "gpus") != 0:
        return float(found.gpu_bytes)
    if memory := view.option("endpoint", "memory"):
        return float(memory)
    return float(found.memory_gib * GIB) if found else None
