"""What clients meet of a product, whatever it does: its name, its guards, and how many are let in."""

import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

from backends.serving.access import Turnstile
from backends.serving.guards import Guards
from backends.serving.replies import ApiError, named
from backends.serving.stats import Stats
from llmspec.release import Release
from llmspec.spec.endpoint import Endpoint, Limits


class Source(Protocol):
    """What makes the answers."""

    @property
    def stats(self) -> Stats: ...


class Product(ABC):
    """One release, open."""

    engine: Source

    def __init__(self, release: Release, limits: Limits, system_prompt: str | None):
        self.release, self.limits = release, limits
        self.guards = Guards(Endpoint.model_validate(release.serving).guards, system_prompt)
        self.turnstile = Turnstile(limits)
        self.since = time.time()

    @abstractmethod
    def close(self) -> None:
        """Nothing is answered any more."""

    def model(self) -> dict[str, str | int]:
        """What is served, as /v1/models lists it."""
        return {"id": self.release.spec, "object": "model", "created": int(self.since), "owned_by": "llmspec"}

    def expect_few(self, body: dict[str, Any]) -> None:
        """Refuse a body of more than has room here before each is looked at: 4 MB may be a million of them."""
        for field, what in (("prompt", "prompts"), ("input", "texts")):
            many = body.get(field)
            if isinstance(many, list) and not isinstance(next(iter(many), None), int):  # token ids are one prompt
                self.turnstile.expect(len(many), what, field)
        messages, most = body.get("messages"), self.limits.input_tokens
        if isinstance(messages, list) and len(messages) > most:
            said = f"{len(messages):,} messages in one request, and at most {most:,} are taken (limits.input_tokens)"
            raise ApiError(400, said, param="messages", code="context_length_exceeded")

    def expect(self, model: str | None) -> None:
        """Refuse another model's name."""
        if model is not None and model != self.release.spec:
            said = f"no model '{named(model)}' here: this is '{self.release.spec}'"
            raise ApiError(404, said, param="model", code="model_not_found")
