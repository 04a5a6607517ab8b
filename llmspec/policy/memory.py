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
FREE = 0.92
"""Of a machine's memory, what its system and its agents leave to copies. A place's GB is AWS's: 1024 of its megabytes."""
IMAGE_DISK = 30e9
"""Of ECS's machines: a disk smaller than the image's is refused."""
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
    if view.endpoint and view.name("endpoint") in ("ecs", "eks"):
        yield from _on_its_machine(view, view.name("endpoint"))
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


def _on_its_machine(view: View, name: str) -> Iterator[Fault]:
    """A copy that asks for more than its machine has is never started: it waits for a machine that does not come."""
    instance, found = view.option("endpoint", "instance"), view.machine("endpoint")

    def larger(option: str, asked: str, has: str) -> Fault:
        where = view.written(f"places.endpoint.{name}.{option}", f"places.endpoint.{name}", "places.endpoint")
        return Fault(where, f"a copy asks for {asked}, and {instance} has {has}", f"lower {option}, or name a larger instance")

    if found:
        cpu, memory, gpus = (view.option("endpoint", option) for option in ("cpu", "memory", "gpus"))
        if cpu > found.cpus or (name == "eks" and cpu == found.cpus):
            spare = ", some of which the cluster takes itself" if cpu == found.cpus else ""
            yield larger("cpu", f"{cpu:g} vCPU", f"{found.cpus:g}{spare}")
        if memory / 1e9 > (free := found.memory_gib * FREE):
            yield larger("memory", f"{memory / 1e9:g} GB", f"{free:.4g} to give away")
        if gpus > found.gpus:
            yield larger("gpus", f"{gpus} GPUs", f"{found.gpus}")
    if name == "ecs" and instance and (disk := view.option("endpoint", "disk")) < IMAGE_DISK:
        where = view.written("places.endpoint.ecs.disk", "places.endpoint")
        yield Fault(where, f"the image that {instance} starts from takes 30 GB, and disk is {disk / 1e9:g}", "write disk: 30GB")


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
