"""serve_onnx: a release becomes a live endpoint."""

from typing import ClassVar

from llmspec.card import Engine


class ServeOnnx(Engine):
    """Serve with continuous batching over plain onnxruntime."""

    stage: ClassVar[str] = "endpoint"
    work: ClassVar[str] = "backends.serving"
    tool: ClassVar[str] = "fastapi"
    requires: ClassVar[tuple[str, ...]] = ("onnxruntime", "tokenizers", "fastapi", "uvicorn", "jinja2", "llguidance")
    install: ClassVar[str] = "pip install 'llmspec[serve]'"
