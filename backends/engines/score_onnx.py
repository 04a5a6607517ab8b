"""score_onnx: the artifact is asked held-out questions."""

from typing import ClassVar

from llmspec.card import Engine


class ScoreOnnx(Engine):
    """Score the artifact through the engine that serves it."""

    stage: ClassVar[str] = "evaluation"
    work: ClassVar[str] = "backends.work.score_onnx:score"
    version: ClassVar[int] = 2
    tool: ClassVar[str] = "onnx"
    requires: ClassVar[tuple[str, ...]] = ("onnxruntime", "tokenizers", "jinja2", "numpy", "pyarrow")
    install: ClassVar[str] = "pip install 'llmspec[train]'"
