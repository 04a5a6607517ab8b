"""tokenize_hf: rows become token ids."""

from typing import ClassVar

from llmspec.card import Engine


class TokenizeHF(Engine):
    """Tokenize with transformers' tokenizers, and pack."""

    stage: ClassVar[str] = "features"
    work: ClassVar[str] = "backends.work.tokenize_hf:tokenize"
    tool: ClassVar[str] = "huggingface"
    requires: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers", "safetensors", "pyarrow", "jinja2")
    install: ClassVar[str] = "pip install 'llmspec[train]'"
