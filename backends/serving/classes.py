"""What an artifact that classifies promises: its contract, as the chat's is `contract.json`."""

from dataclasses import dataclass
from typing import ClassVar

from backends.serving.sealed import Sealed


@dataclass(frozen=True)
class Classes(Sealed):
    """The labels, and how a text becomes what the graph reads."""

    file: ClassVar[str] = "classifier.json"
    labels: list[str]
    """In the order of the scores."""
    multi_label: bool
    """Each label on its own, instead of one of them."""
    max_tokens: int
    """The longest text it can read."""
    pad_id: int
    tokenizer: str
    """sha256 of tokenizer.json."""
