"""llmspec: one llm.yaml becomes a trained, evaluated, served language model."""

__version__ = "0.1.0"
