"""What an endpoint serves: numbered, immutable. `live` points at one of them; promotion and rollback move the pointer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llmspec.job import digest_of
from llmspec.shelf import ABSENT, Shelf


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
    """The spec's whole `endpoint` section, with its certificate's files where they are; `variants` only while it is live."""
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
        """What makes it another release: the artifact's bytes and how they are served. Not what is served beside it: an A/B
        test names releases by their numbers, so it can give none."""
        return digest_of([self.artifact_digest, self.sharing([]).serving, self.contract])

    @property
    def variants(self) -> list[dict[str, int]]:
        """Releases and their percent of the traffic, while it is live beside others; empty when all of it is its own."""
        return self.serving.get("variants") or []

    def sharing(self, variants: list[dict[str, int]]) -> "Release":
        """The same release beside these."""
        alone = {name: value for name, value in self.serving.items() if name != "variants"}
        return replace(self, serving=alone | ({"variants": variants} if variants else {}))

    @property
    def judged(self) -> tuple[str, str]:
        """Its content, and the evaluation that let it through: one number is for both, or its scores would be another's."""
        return self.content, self.evaluation_key

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
    """0 where a platform keeps the process to itself."""
    since: float
    """Unix time at which this release began to answer."""
    certificate: str = ""
    """The file of its certificate, when it speaks HTTPS."""
    journal_lost: int = 0
    """Lines of its journal that it could not write since then, where it says so."""


@dataclass(frozen=True)
class Fleet:
    """The copies of what is live, by the name of the side that they serve."""

    configuration: str
    """The platform's name of what they were asked for by."""
    began: Mapping[str, int]
    """As many as it asked for."""
    now: Mapping[str, int]
    """As many as work, scaled since."""


@dataclass(frozen=True)
class Releases:
    """All releases of a product at a target, and the pointer to the live one."""

    at: Shelf

    def all(self) -> list[Release]:
        """The oldest first."""
        return [Release.from_json(text) for text in self.at.read_all(self._names())]

    def moved(self) -> tuple[str, str, str]:
        """How far they have come: of two stores that have releases of one product, the greater has the later ones."""
        last = max(self._names(), default="")
        return last, self._pointer("live").get("since", ""), self._pointer("candidate").get("since", "")

    def get(self, number: int) -> Release | None:
        text = self.at.read(_name(number))
        return None if text is None else Release.from_json(text)

    def live(self) -> Release | None:
        """What the pointer says is live, and beside what; whether it really answers, a place knows."""
        release = self._at("live")
        return release and release.sharing(self._pointer("live").get("variants", release.variants))

    def candidate(self) -> Release | None:
        """What is tried out and not live."""
        return self._at("candidate")

    def before(self) -> Release | None:
        """What was live before what is live now."""
        number = self._pointer("live").get("before")
        return self.get(number) if number else None

    def add(self, release: Release) -> Release:
        """Immutable: the same number again must be the same content (a crash came between writing it and making it live), and
        then it is the one that was written: a platform that got it already finds that nothing changed."""
        known = self.get(release.number)
        assert known is None or known.judged == release.judged
        if known is None:
            self.at.write(_name(release.number), release.sharing([]).to_json(), over=ABSENT)
        return (known or release).sharing(release.variants)

    def misnamed(self, asked: Release) -> list[str]:
        """Why it cannot be live beside the releases that it names; the places say what of shares they can do."""
        named = [variant["release"] for variant in asked.variants]
        gone = [f"there is no release {number}" for number in named if number != asked.number and self.get(number) is None]
        odd = (
            [f"release {asked.number} is what the spec asks for, and is none of them"]
            if named and asked.number not in named
            else []
        )
        return gone + odd

    def seen(self) -> str:
        """The version of the pointer to what is live: `point` moves only that one."""
        return self.at.look("live.json")[1]

    def point(self, release: Release, at: str, seen: str | None = None) -> None:
        """It is live. What was live before is remembered, for a way back. MovedError when the pointer is not as it was `seen`."""
        now = self._pointer("live")
        before = now.get("before") if now.get("release") == release.number else now.get("release")
        pointer = {"release": release.number, "since": at, "before": before, "variants": release.variants}
        self.at.write("live.json", json.dumps(pointer), over=seen)

    def nominate(self, release: Release, at: str) -> None:
        """It is tried out."""
        self.at.write("candidate.json", json.dumps({"release": release.number, "since": at}))

    def dismiss(self, at: str) -> None:
        """Nothing is tried out. When is written down: a store where something still was is behind this one."""
        self.at.write("candidate.json", json.dumps({"since": at}))

    def _names(self) -> list[str]:
        return sorted(name for name in self.at.sizes() if name[:1].isdigit() and name.endswith(".json"))

    def _at(self, pointer: str) -> Release | None:
        number = self._pointer(pointer).get("release")
        return self.get(number) if number else None

    def _pointer(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.at.read(f"{name}.json") or "{}"))

    def copy_to(self, shelf: Shelf) -> None:
        """All of them, and the pointers last: a pointer never leads to a release that is not there. A candidate of the time when
        they were kept there before is none any more."""
        shelf.remove("candidate.json")
        for name in sorted(self.at.sizes()):
            if text := self.at.read(name):
                shelf.write(name, text)

    def number_for(self, draft: Release) -> int:
        """The number of the latest release when it is this one, judged by the same evaluation, and has a later number than what is
        live, or the next free one."""
        every, live = self.all(), self.live()
        last = every[-1] if every else None
        if last and last.judged == draft.judged and (live is None or last.number > live.number):
            return last.number
        return last.number + 1 if last else 1


def _name(number: int) -> str:
    return f"{number:06d}.json"
