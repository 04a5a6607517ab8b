"""onnx: the artifact that is evaluated and served."""

from typing import Annotated, Literal

from pydantic import Field

from llmspec.card import Engine
from llmspec.registry import EngineOf
from llmspec.section import OutsideKey, Section

MANY = 4
"""Requests in one step from which int8 is faster than int4 on a CPU; reading prompts, it always is."""


class Parity(Section):
    """How close the artifact must stay to the model it was made from, on held-out rows."""

    tokens: float = Field(default=0.98, ge=0, le=1)
    """Least share of next tokens on which both agree."""
    perplexity: float = Field(default=1.05, ge=1)
    """Most that the artifact's perplexity may be, as a multiple of the model's."""


class Onnx(Section):
    """From a checkpoint to an ONNX artifact."""

    engine: Annotated[Engine, EngineOf("onnx")] = Field(default="export_onnx", validate_default=True)
    """The tool that does it."""
    precision: Literal["fp32", "int8", "int4", "fp16", "auto"] = "fp32"
    """int8: fastest under load. int4: smallest, and fastest for a single user. fp32: as trained. fp16: for a GPU (CUDA).
    auto: int4 or int8, by endpoint.limits.concurrency."""
    parity: Annotated[Parity, OutsideKey()] = Parity()
    """Blocks everything below when it does not hold."""

    def precision_for(self, concurrency: int) -> tuple[str, str]:
        """The precision that is made, and why, where the spec leaves it open."""
        if self.precision != "auto":
            return self.precision, ""
        few = concurrency < MANY
        reads = "int4 is read from memory fastest" if few else "int8 computes many rows fastest"
        return "int4" if few else "int8", f"auto: {reads}, and endpoint.limits.concurrency is {concurrency}"
