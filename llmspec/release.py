"""What an endpoint serves: numbered, immutable. `live` points at one of them; promotion and rollback move the pointer."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmspec.job import digest_of
from llmspec.store import write_atomically


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
    scored_on: str = ""
    """Digest of the rows that judged it."""
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
    certificate: str = ""
    """The file of its certificate, when it speaks HTTPS."""


@dataclass(frozen=True)
class Releases:
    """All releases of a product at a target, and the pointer to the live one."""

    folder: Path

    def all(self) -> list[Release]:
        """The oldest first."""
        return [Release.from_json(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("[0-9]*.json"))]

    def get(self, number: int) -> Release | None:
        path = self._path(number)
        return Release.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None

    def live(self) -> Release | None:
        """What the pointer says is live; whether it really answers, a place knows."""
        return self._at("live")

    def candidate(self) -> Release | None:
        """What is tried out and not live."""
        return self._at("candidate")

    def before(self) -> Release | None:
        """What was live before what is live now."""
        number = self._pointer("live").get("before")
        return self.get(number) if number else None

    def add(self, release: Release) -> None:
        """Immutable: the same number again must be the same content (a crash came between writing it and making it live)."""
        known = self.get(release.number)
        assert known is None or known.content == release.content
        if known is None:
            write_atomically(self._path(release.number), release.to_json())

    def point(self, release: Release, at: str) -> None:
        """It is live. What was live before is remembered, for a way back."""
        now = self._pointer("live")
        before = now.get("before") if now.get("release") == release.number else now.get("release")
        write_atomically(self.folder / "live.json", json.dumps({"release": release.number, "since": at, "before": before}))

    def nominate(self, release: Release, at: str) -> None:
        """It is tried out."""
        write_atomically(self.folder / "candidate.json", json.dumps({"release": release.number, "since": at}))

    def dismiss(self) -> None:
        """Nothing is tried out."""
        (self.folder / "candidate.json").unlink(missing_ok=True)

    def _at(self, pointer: str) -> Release | None:
        number = self._pointer(pointer).get("release")
        return self.get(number) if number else None

    def _pointer(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def number_for(self, content: str) -> int:
        """The number of the latest release when it has this content and a later number than what is live, or the next free one."""
        every, live = self.all(), self.live()
        last = every[-1] if every else None
        if last and last.content == content and (live is None or last.number > live.number):
            return last.number
        return last.number + 1 if last else 1

    def forget(self) -> None:
        """Nothing is live."""
        (self.folder / "live.json").unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"
