"""The language: one model per file, one file per key of llm.yaml."""

from llmspec.spec.spec import Spec

__all__ = ["Spec"]
