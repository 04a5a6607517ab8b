"""The loss curve: as a table, and as a picture for Dagster."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from llmspec.pictures import curve


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
    (report / "loss.svg").write_text(picture(points), encoding="utf-8")


def picture(points: Sequence[Point]) -> str:
    """Held-out rows are looked at now and then: a dot for each look, and no line between that nobody measured."""
    lines = {"training": [(point.step, point.loss) for point in points]}
    if any(point.validation_loss is not None for point in points):
        lines["validation"] = [(point.step, point.validation_loss) for point in points]
    return curve("Loss", lines, x="steps", y="per token")
