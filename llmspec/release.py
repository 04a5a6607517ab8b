"""What an endpoint serves: numbered, immutable. `live` points at one of them; promotion and rollback move the pointer."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from llmspec.job import digest_of


@dataclass(frozen=True)
class Release:
    """One onnx artifact, one serving configuration, and the evaluation that let it through."""

    number: int
    spec: str
    target: str
    artifact: str
    """The onnx artifact's folder."""
    artifact_key: str
    artifact_digest: str
    contract: str
    """Hash of tokenizer, template, special and stop tokens: the server refuses another."""
    serving: dict[str, Any]
    """The spec's `endpoint` section: api, host, port, system_prompt, limits."""
    evaluation_key: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    verdict: list[dict[str, Any]] = field(default_factory=list)
    made_at: str = ""
    made_by: str = ""
    git: str = ""

    @property
    def content(self) -> str:
        """What makes it another release: the artifact's bytes and how they are served."""
        return digest_of([self.artifact_digest, self.serving, self.contract])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Release":
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Live:
    """What answers now, as it said itself."""

    url: str
    release: int
    pid: int
    since: float
    """Unix time at which this release began to answer."""
