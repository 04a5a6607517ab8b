"""train_hf: token ids become a checkpoint."""

from typing import ClassVar

from llmspec.card import Engine


class TrainHF(Engine):
    """Fine-tune with transformers and peft, in a loop of our own."""

    stage: ClassVar[str] = "model"
    work: ClassVar[str] = "backends.work.train_hf:train"
    tools: ClassVar[tuple[str, ...]] = ("backends.work.networks",)
    tool: ClassVar[str] = "pytorch"
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "safetensors")
    install: ClassVar[str] = "pip install 'llmspec[train]'"
