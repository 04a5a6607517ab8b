"""export_onnx: a checkpoint becomes an ONNX artifact."""

from typing import ClassVar

from llmspec.card import Engine


class ExportOnnx(Engine):
    """Export with onnxruntime-genai's model builder, and check parity."""

    stage: ClassVar[str] = "onnx"
    work: ClassVar[str] = "backends.work.export_onnx:export"
    tools: ClassVar[tuple[str, ...]] = ("backends.work.networks",)
    version: ClassVar[int] = 5
    tool: ClassVar[str] = "onnx"
    requires: ClassVar[tuple[str, ...]] = (
        "onnxruntime",
        "onnxruntime_genai",
        "onnx",
        "onnx_ir",
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "jinja2",
    )
    install: ClassVar[str] = "pip install 'llmspec[train]'"
