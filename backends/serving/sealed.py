"""What the stages agree on, as a small file of an artifact that carries the hash of its own content."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

from llmspec.job import digest_of


@dataclass(frozen=True)
class Sealed:
    """Fields, saved with their hash: an edit by hand is noticed where they are read."""

    file: ClassVar[str]
    """Its name in the artifact."""

    @property
    def hash(self) -> str:
        return digest_of(asdict(self))

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self) | {"hash": self.hash}, indent=1, ensure_ascii=False, sort_keys=True)
        (folder / self.file).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        fields = json.loads((folder / cls.file).read_text(encoding="utf-8"))
        said = fields.pop("hash")
        found = cls(**fields)
        if found.hash != said:
            raise ValueError(f"{folder / cls.file} was edited by hand: its hash is not that of its content")
        return found
