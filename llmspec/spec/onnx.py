"""onnx: the artifact that is evaluated and served."""

from typing import Annotated, Literal

from pydantic import Field

from llmspec.registry import Engine, EngineOf
from llmspec.section import OutsideKey, Section


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
    precision: Literal["fp32", "int8", "int4"] = "fp32"
    """int8: fastest under load. int4: smallest, and fastest for a single user. fp32: as trained."""
    parity: Annotated[Parity, OutsideKey()] = Parity()
    """Blocks everything below when it does not hold."""
