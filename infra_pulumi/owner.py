"""Whose a resource is: the beginning of its name, and the tags by which it is found again."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Owner:
    """One product at one target, in one region."""

    name: str
    target: str
    region: str
    tags: Mapping[str, str] = field(default_factory=dict)
    """The spec's own labels."""

    @property
    def prefix(self) -> str:
        """`support-bot-prod`: what the names of its resources begin with."""
        return f"{self.name}-{self.target}"

    @property
    def cut(self) -> str:
        """What begins a name where AWS takes 32 letters, and the rest of it may be a digest."""
        return self.prefix[:20]

    def tagged(self, stage: str, release: int | None = None) -> dict[str, str]:
        """The tags of a resource that serves this stage: a sweep finds by them what is in no stack."""
        known = {"llmspec:name": self.name, "llmspec:target": self.target, "llmspec:stage": stage}
        return {**self.tags, **known, **({"llmspec:release": str(release)} if release is not None else {})}
