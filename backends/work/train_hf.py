"""train_hf: token ids become a checkpoint. One loop on plain torch, whatever is trained: a network from scratch, a whole
base, or an adapter on one. A killed run goes on from its checkpoint and ends with the same weights, on a CPU to the bit."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from backends.work import checkpoint, loss_curve, networks
from backends.work.base_model import SHAPES, base_folder, check_same_tokenizer
from backends.work.cores import threads
from backends.work.loss_curve import Point
from backends.work.packing import IGNORED, Batch, by_length, packed, steps_of
from backends.work.report import Report
from backends.work.token_rows import Row, TokenRows
from llmspec.spec.model import Model, ScratchBase, Training

LOOKS = 4
"""How often the validation loss is measured after the start, the last time at the end."""


def train(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    model = Model.model_validate(options["model"])
    machine = Machine.here()
    base = base_folder(model.base, inputs, weights=True)
    features = inputs["features"]
    contract = check_same_tokenizer(features, base)
    rows = TokenRows.load(features / "train.safetensors")
    held_out = TokenRows.load(features / "validation.safetensors")
    checkpoint.clear_but(output)

    torch.manual_seed(model.training.seed)
    if base is None:
        assert isinstance(model.base, ScratchBase)
        network: Any = networks.small_llama(SHAPES[model.base.scratch], contract).to(machine.device)
    else:
        network = networks.load_base(base, contract, model, machine.device, machine.compute)
    network = networks.trainable(network, model)
    counted = {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "trainable": sum(weight.numel() for weight in network.parameters() if weight.requires_grad),
    }

    # The order of a sum depends on the number of threads: as many each time give the same bits each time.
    torch.set_num_threads(threads(counted["parameters"]))
    run = Run(network, rows, held_out, model.training, machine)
    if run.resume(output):
        report.log(f"going on from the checkpoint at step {run.state.step:,} of {len(run.steps):,}")
    run.to_the_end(output, report)

    network = networks.finished(network, base, contract, model, output, machine.compute)
    networks.save(network, contract, features, output)
    loss_curve.save(run.state.curve, output / "report")
    # Asked of what was saved, so that merging and rounding are in it.
    last = mean_loss(networks.widened(network), held_out, machine)
    return told(run, last, report) | counted


@dataclass(frozen=True)
class Machine:
    """What computes here, and in which precision."""

    device: torch.device
    compute: torch.dtype

    @classmethod
    def here(cls) -> "Machine":
        if torch.cuda.is_available():
            fast = torch.cuda.is_bf16_supported(including_emulation=False)  # a T4 only pretends to, and is slower for it
            return cls(torch.device("cuda"), torch.bfloat16 if fast else torch.float32)
        torch.use_deterministic_algorithms(True)
        # Dear, and nothing here reads what it did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        return cls(torch.device("cpu"), torch.float32)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def narrow(self) -> AbstractContextManager[Any]:
        """bf16 products where the GPU has them; a CPU stays in fp32, where another CPU can follow it."""
        return torch.autocast("cuda", torch.bfloat16) if self.compute == torch.bfloat16 else nullcontext()

    def micro_tokens(self, vocab_size: int) -> int:
        """Tokens that go through at once. A rule and no measurement, so that it is the same each time: the scores over
        the vocabulary are what grows largest, and stay below 0.5 GB on a CPU, 2 GB on a GPU."""
        most, scores = (16_384, 2**29) if self.on_gpu else (4_096, 2**27)
        return max(1, min(most, scores // vocab_size))

    def batches(self, sequences: Sequence[Sequence[Row]], vocab_size: int) -> Iterator[Batch]:
        """The rows as this machine computes them quickest; the loss is the same."""
        if self.on_gpu:
            return packed(sequences, self.micro_tokens(vocab_size))
        return by_length([row for rows in sequences for row in rows], self.micro_tokens(vocab_size))


@dataclass
class State:
    """What changes while training, beside weights and optimizer."""

    step: int = 0
    tokens: int = 0
    curve: list[Point] = field(default_factory=lambda: [Point(0, None, None, None, 0)])
    dice: dict[str, torch.Tensor] = field(default_factory=dict)
    """Where the random numbers stand: dropout draws from them."""


class Run:
    """The loop."""

    def __init__(self, network: Any, rows: TokenRows, held_out: TokenRows, training: Training, machine: Machine):
        self.network, self.rows, self.held_out, self.training, self.machine = network, rows, held_out, training, machine
        self.weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.steps = steps_of(rows.lengths, training.epochs, training.batch_tokens, training.seed)
        # The pull towards zero is for matrices: norms and biases have their own scale.
        matrices = [weight for weight in self.weights.values() if weight.ndim > 1]
        others = [weight for weight in self.weights.values() if weight.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)
        self.state = State(dice=self.dice())
        self.tokens_per_second = 0.0

    def to_the_end(self, output: Path, report: Report) -> None:
        """A signal to end (the door makes SIGTERM a SystemExit) is answered with a checkpoint."""
        started, before, saved = time.monotonic(), self.state.tokens, time.monotonic()
        try:
            self.network.train()
            self.look()
            while self.state.step < len(self.steps):
                self.one_step()
                self.look()
                self.tokens_per_second = (self.state.tokens - before) / (time.monotonic() - started)
                loss, speed = self.state.curve[-1].loss or 0.0, f"{self.tokens_per_second:,.0f}"
                report.progress(self.state.step, len(self.steps), "steps", loss=loss, tokens_per_second=speed)
                if time.monotonic() - saved >= self.training.checkpoint_every:
                    self.save(output)
                    saved = time.monotonic()
        except (SystemExit, KeyboardInterrupt):
            self.save(output)
            report.log(f"stopped; the checkpoint at step {self.state.step:,} of {len(self.steps):,} is kept")
            raise

    def one_step(self) -> None:
        """Forward and backward over the step's rows, in as many passes as memory asks for, then one update."""
        sequences = [self.rows.sequence(number) for number in self.steps[self.state.step]]
        targets = max(1, targets_in(sequences))
        loss = torch.zeros((), device=self.machine.device)
        self.optimizer.zero_grad(set_to_none=True)
        for batch in self.machine.batches(sequences, self.network.config.vocab_size):
            # A mean over the whole step's targets, however its rows are divided into passes.
            part = summed_loss(self.network, batch, self.machine) / targets
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        rate = self.training.learning_rate * rate_factor(self.state.step, len(self.steps), self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with checkpoint.Whole():
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self.training.clip)
            self.optimizer.step()
            self.state.step += 1
            self.state.tokens += sum(len(row) for rows in sequences for row in rows)
            self.state.curve.append(Point(self.state.step, loss.item(), rate, None, self.state.tokens))
            self.state.dice = self.dice()

    def look(self) -> None:
        """Measure the validation loss where it is due and was not measured before a stop."""
        due = {round(len(self.steps) * quarter / LOOKS) for quarter in range(LOOKS + 1)}
        if self.state.step in due and self.state.curve[-1].validation_loss is None:
            loss = mean_loss(self.network, self.held_out, self.machine)
            self.state.curve[-1] = replace(self.state.curve[-1], validation_loss=loss)

    def dice(self) -> dict[str, torch.Tensor]:
        return {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state()} if self.machine.on_gpu else {})

    def save(self, output: Path) -> None:
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        checkpoint.save(output, asdict(self.state) | {"weights": weights, "optimizer": self.optimizer.state_dict()})

    def resume(self, output: Path) -> bool:
        """Take up what a killed run left. False when it left nothing."""
        if (kept := checkpoint.load(output)) is None:
            return False
        with torch.no_grad():
            for name, weight in kept["weights"].items():
                self.weights[name].copy_(weight)
        self.optimizer.load_state_dict(kept["optimizer"])
        self.state = State(kept["step"], kept["tokens"], [Point(**point) for point in kept["curve"]], kept["dice"])
        torch.set_rng_state(kept["dice"]["cpu"])
        if self.machine.on_gpu:
            torch.cuda.set_rng_state(kept["dice"]["cuda"])
        return True


def targets_in(sequences: Sequence[Sequence[Row]]) -> int:
    return sum(int(row.loss[1:].sum()) for rows in sequences for row in rows)


def summed_loss(network: Any, batch: Batch, machine: Machine) -> torch.Tensor:
    """Summed over the batch's targets."""
    batch = batch.to(machine.device)
    with machine.narrow():
        scores = network(input_ids=batch.tokens, position_ids=batch.positions, use_cache=False).logits
    return functional.cross_entropy(scores.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")


@torch.no_grad()
def mean_loss(network: Any, rows: TokenRows, machine: Machine) -> float | None:
    """Per target, over all rows; None when there are none."""
    sequences = [rows.sequence(number) for number in range(rows.num_sequences)]
    if not (targets := targets_in(sequences)):
        return None
    was_training = network.training
    network.eval()
    batches = machine.batches(sequences, network.config.vocab_size)
    total = sum(summed_loss(network, batch, machine).item() for batch in batches)
    network.train(was_training)
    return total / targets


def rate_factor(step: int, steps: int, training: Training) -> float:
    """Up in a line, then down as the schedule says: to nearly nothing at the last step."""
    climb = round(steps * training.warmup)
    if step < climb:
        return (step + 1) / (climb + 1)
    passed = (step - climb) / (steps - climb)
    return {"cosine": (1 + cos(pi * passed)) / 2, "linear": 1 - passed, "constant": 1.0}[training.schedule]


def told(run: Run, validation_loss: float | None, report: Report) -> dict[str, Any]:
    curve = [point for point in run.state.curve if point.loss is not None]
    tail = [point.loss for point in curve[-max(1, len(curve) // 10) :] if point.loss is not None]
    metrics: dict[str, Any] = {
        "train_loss": sum(tail) / len(tail),
        "steps": len(run.steps),
        "tokens": run.state.tokens,
        "tokens_per_second": round(run.tokens_per_second),
    }
    report.summary = f"loss {curve[0].loss:.3g} → {metrics['train_loss']:.3g}"
    if validation_loss is not None:
        metrics["validation_loss"] = validation_loss
        report.summary += f" · validation {validation_loss:.3g}"
    return metrics
