"""The loss curve: as a table, and as a picture for Dagster."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """After one step."""

    step: int
    loss: float | None
    """Mean over the step's tokens; None before the first."""
    learning_rate: float | None
    validation_loss: float | None
    """Where it was measured."""
    tokens: int
    """Seen so far."""


def save(points: Sequence[Point], report: Path) -> None:
    report.mkdir(exist_ok=True)
    with (report / "loss.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Point)])
        table.writeheader()
        table.writerows(asdict(point) for point in points)
    draw(points, report / "loss.png")


def draw(points: Sequence[Point], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    axes = figure.subplots()
    trained = [(point.step, point.loss) for point in points if point.loss is not None]
    held_out = [(point.step, point.validation_loss) for point in points if point.validation_loss is not None]
    axes.plot(*zip(*trained, strict=True), label="training", linewidth=1)
    if held_out:
        axes.plot(*zip(*held_out, strict=True), label="validation", marker="o", markersize=4)
    axes.set(xlabel="step", ylabel="loss per token", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
