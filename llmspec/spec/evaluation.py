"""evaluation: what the artifact scores, and what it must score to be served."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llmspec.card import Engine
from llmspec.expressions import Gate
from llmspec.registry import EngineOf
from llmspec.section import OutsideKey, Section, asked_once, wrong

Metric = Literal["token_f1", "exact_match", "perplexity", "rouge_l"]


class Evaluation(Section):
    """Scores of the artifact, through the engine that will serve it."""

    engine: Annotated[Engine, EngineOf("evaluation")] = Field(default="score_onnx", validate_default=True)
    """The tool that does it."""
    data: Literal["test", "validation"] = "test"
    """Which part of the split judges."""
    rows: int | None = Field(default=None, ge=1)
    """At most so many rows, always the same ones; all when absent."""
    metrics: list[Metric] = Field(default=["token_f1", "exact_match", "perplexity", "rouge_l"], min_length=1)
    """What is measured."""
    gates: Annotated[list[Gate], OutsideKey()] = []
    """All must hold, or the endpoint is not touched: `token_f1 >= 0.8`, `perplexity <= champion * 1.02`."""

    @model_validator(mode="after")
    def _metrics_are_named_once(self) -> Self:
        for number, metric in enumerate(self.metrics):
            if metric in self.metrics[:number]:
                raise wrong(f"{metric} is named twice", "name it once", f"metrics[{number}]")
        return self

    @model_validator(mode="after")
    def _gates_are_asked_once(self) -> Self:
        asked_once(self.gates, "gates")
        return self

    @model_validator(mode="after")
    def _gates_are_measured(self) -> Self:
        for number, gate in enumerate(self.gates):
            if gate.metric not in self.metrics:
                fault = f"gate '{gate}' needs {gate.metric}, which is not measured"
                raise wrong(fault, f"add {gate.metric} to evaluation.metrics", f"gates[{number}]", gate.metric)
        return self
