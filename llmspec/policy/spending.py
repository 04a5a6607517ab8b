"""What costs for nothing: machines that wait for a thing that never comes, work that is lost, months that nobody watches."""

from collections.abc import Iterator

from llmspec.base_size import parameters
from llmspec.policy.finding import Fault, View, rule
from llmspec.section import format_duration

_OFTEN = 900.0
"""Seconds of work that may be lost to a spot machine that is taken away."""


@rule("budget", "warning", "The first to notice a bill should not be the one who pays it.")
def budget(view: View) -> Iterator[Fault]:
    governance = view.spec.governance
    if governance is None or governance.budget is None:
        where = view.written("governance", *(f"places.{stage}" for stage in view.inside))
        yield Fault(where, "nobody watches what a month costs", "add `governance: {budget: {monthly: 500 USD}}`")
    elif not view.spec.addresses:
        cure = "add `monitors: {notify: {email: …}}`, or make `owner` an address"
        yield Fault("governance.budget", "it warns nobody: no address is named", cure)


@rule("spot-checkpoints", "warning", "A spot machine is taken away with two minutes' notice; what was not saved is paid twice.")
def spot_checkpoints(view: View) -> Iterator[Fault]:
    every = view.spec.model.training.checkpoint_every
    if view.option("model", "spot") and every > _OFTEN:
        fault = f"up to {format_duration(every)} of training are lost each time"
        where = view.written("model.training.checkpoint_every", "places.model")
        yield Fault(where, fault, "write `checkpoint_every: 5m`")


@rule("idle-gpu", "warning", "A GPU costs several times what a processor does, also when nothing uses it.")
def idle_gpu(view: View) -> Iterator[Fault]:
    for stage in ("data", "features", "onnx", "evaluation", "monitors"):
        if (found := view.machine(stage)) and found.gpus:
            where = f"places.{stage}.{view.name(stage)}.instance"
            yield Fault(
                where, f"{stage} computes on processors, and {view.option(stage, 'instance')} has a GPU", "use `ml.m7i.large`"
            )
    if (found := view.machine("model")) and found.gpus > 1:
        fault = f"{view.option('model', 'instance')} has {found.gpus} GPUs, and training uses one"
        yield Fault(f"places.model.{view.name('model')}.instance", fault, "choose a machine with one GPU and enough memory")
    yield from _served(view)


def _served(view: View) -> Iterator[Fault]:
    found = view.machine("endpoint")
    if found is None or not found.gpus:
        return
    precision, _ = view.spec.onnx.precision_for(view.spec.endpoint.limits.concurrency)
    where = f"places.endpoint.{view.name('endpoint')}.instance"
    if precision in ("int4", "int8"):
        yield Fault(where, f"precision {precision} is computed on processors", "use `precision: fp16`, or a machine without a GPU")
    elif view.option("endpoint", "gpus") == 0:
        fault = "no copy asks for the machine's GPU"
        yield Fault(where, fault, "add `gpus: 1`, or choose a machine without")
    elif found.gpus > max(1, view.option("endpoint", "gpus") or 1):
        yield Fault(where, f"it has {found.gpus} GPUs, and a copy uses one", "choose a machine with one GPU")


@rule("no-gpu", "warning", "A base of this size takes days on processors, and a GPU is cheaper in the end.")
def no_gpu(view: View) -> Iterator[Fault]:
    size, found = parameters(view.spec), view.machine("model")
    if size and size >= 1e8 and found and not found.gpus:
        fault = f"{size / 1e9:.1f} B parameters are trained on processors"
        yield Fault(view.written(f"places.model.{view.name('model')}.instance", "places.model"), fault, "use `ml.g5.xlarge`")
