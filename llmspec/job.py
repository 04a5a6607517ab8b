"""The one noun that travels: what to do, from what, to where. JSON, never an object."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

Digest = str
"""sha256, in hex."""
ROLES = {
    "data": "data",
    "features": "training",
    "model": "training",
    "onnx": "training",
    "evaluation": "evaluation",
    "monitors": "monitors",
}
"""Whose role a stage's job takes on: the foundation makes these, and jobs ask for them."""


def canonical(value: Any) -> bytes:
    """One spelling for one value, so that order and spacing never change a key."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> Digest:
    return hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True)
class Input:
    """An artifact or a folder that the work reads, and the digest of its content."""

    uri: str
    digest: Digest


@dataclass(frozen=True)
class Job:
    """One stage's work."""

    spec: str
    stage: str
    engine: str
    version: int
    work: str
    options: dict[str, Any]
    """All that the work reads, by section: {'model': {...}, 'features': {...}}."""
    keyed: dict[str, Any]
    """The part of the options that changes what comes out, and so is in the key."""
    inputs: dict[str, Input]
    files: dict[str, dict[str, Digest]] = field(default_factory=dict)
    """Source -> file -> digest: what `data` reads."""
    secrets: tuple[tuple[str | int, ...], ...] = ()
    """Where in the options `${secret.NAME}` stands for a value."""
    output: str = ""
    """The folder of the artifact."""

    @property
    def key(self) -> str:
        """What makes the result what it is: never a place, a URI or a time."""
        sources = {name: [files[path] for path in sorted(files)] for name, files in self.files.items()}
        inputs = {name: item.digest for name, item in self.inputs.items()}
        return digest_of([self.stage, self.engine, self.version, self.keyed, inputs, sources])[:20]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        fields = json.loads(text)
        fields["inputs"] = {name: Input(**item) for name, item in fields["inputs"].items()}
        fields["secrets"] = tuple(tuple(path) for path in fields["secrets"])
        return cls(**fields)
