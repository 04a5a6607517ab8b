"""endpoint: how the artifact answers the world."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_serializer

from llmspec.card import Engine
from llmspec.registry import EngineOf
from llmspec.section import Duration, Like, Section, Size, wrong
from llmspec.spec.guards import Guards
from llmspec.spec.traffic import Rollout, Scale, Variants

Permission = Literal["use", "test", "read_metrics", "read_audit"]
Role = Literal["admin", "developer", "user"]
DAY = 86400.0
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")


class Limits(Section):
    """What one request, and all of them together, may take."""

    input_tokens: int = Field(default=2048, ge=16)
    """A longer prompt is refused with 400."""
    output_tokens: int = Field(default=512, ge=1)
    """The most that one answer may have; also its default."""
    concurrency: int = Field(default=16, ge=1, le=512)
    """Requests answered at the same time; the next ones wait."""
    queue: int = Field(default=64, ge=0)
    """How many may wait; the next one is refused with 429. A quarter more may, of clients who then hold few places."""
    memory: Size | None = Field(default=None, gt=0)
    """For key-value memory, such as `2GB`: slots first, then the prefix cache. Where fewer than concurrency fit, fewer are made.
    Absent: what the slots need, at most three quarters of what is free, and up to 1 GB for prefixes."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Per key, or per client address without keys; more is refused with 429. No limit when absent."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Per key, or per client address without keys: prompt and answer, counted when the answer has ended. No limit when absent."""
    timeout: Duration = Field(default=60.0, gt=0)
    """A request that takes longer ends with what it has."""


class Roles(Section):
    """What a key of each role may do."""

    admin: list[Permission] = ["use", "test", "read_metrics", "read_audit"]
    """Answers for it: also reads who was let in, who was refused, and who deployed."""
    developer: list[Permission] = ["use", "test", "read_metrics"]
    """Works on it: also asks the candidate, before it is live."""
    user: list[Permission] = ["use"]
    """Asks what is live."""


class Access(Section):
    """Who may ask. As long as no key was ever made, the endpoint answers this machine only."""

    keys: Literal["file", "cognito"] = "file"
    """file: hashed beside the endpoint's own files, by `llmspec keys`; cognito: at lambda, people sign in to a pool of users."""
    roles: Roles = Roles()
    """What a key of each role may do."""


class Tls(Section):
    """HTTPS by the endpoint itself."""

    certificate: str = Field(min_length=1)
    """A PEM file with the certificate and what is between it and its authority, relative to the spec."""
    key: str = Field(min_length=1)
    """A PEM file with its private key, without a passphrase, relative to the spec."""


class Journal(Section):
    """What is kept of questions and answers."""

    keep: Duration = Field(default=30 * DAY, ge=DAY)
    """Files whose last line is older are removed; a new file is begun every day."""
    content: Literal["redacted", "full", "none"] = "redacted"
    """redacted: without addresses, card numbers and credentials; full: as it was said; none: only the numbers."""


class Endpoint(Section):
    """A live server with an API that clients already speak."""

    engine: Annotated[Engine, EngineOf("endpoint")] = Field(default="serve_onnx", validate_default=True)
    """The tool that does it."""
    api: Literal["openai"] = "openai"
    """chat/completions, completions and models, streaming or not."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$"), Like("write an address or a host's name: `0.0.0.0`")] = "127.0.0.1"
    """Where it listens; 0.0.0.0 is everywhere."""
    port: int = Field(default=8080, ge=0, le=65_535)
    """Where it listens; 0 takes a free one and keeps it."""
    system_prompt: str | None = None
    """Said first in every conversation, in training as in serving: changing it retrains."""
    prefix_cache: bool = True
    """Prompts that begin like earlier ones (a system prompt, a conversation so far) are not read again. Answers stay the same."""
    limits: Limits = Limits()
    """What a request may take."""
    access: Access = Access()
    """Who may ask."""
    tls: Tls | None = None
    """HTTPS; plain HTTP when absent."""
    cors: list[str] = []
    """Origins whose web pages may ask from a browser: `https://shop.example`. None when empty."""
    guards: Guards = Field(default=["secrets", "system_prompt_leak"], validate_default=True)
    """What requests and answers are guarded with; `[]` is none. Control tokens in callers' text are always plain text."""
    journal: Journal = Journal()
    """What is kept of questions and answers."""
    scale: Scale | None = None
    """How many copies answer, where a place has more than one; one when absent."""
    rollout: Rollout | None = None
    """How the next release takes over, where a place has several ways; all at once when absent."""
    variants: Variants | None = None
    """An A/B test between releases: `[{release: 12, weight: 90}, {release: 13, weight: 10}]`. None when absent."""

    @model_serializer(mode="wrap")
    def _absent_is_absent(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """What only some places make real says nothing where it is not asked for, so it changes no release that has none."""
        made = handler(self)
        return {name: value for name, value in made.items() if value is not None or name not in ("scale", "rollout", "variants")}

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name that is not localhost may mean anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @field_validator("cors")
    @classmethod
    def _origins_are_exact(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise wrong(
                    f"{origin[:80]!r} is no origin", "write scheme, host and port only: `https://shop.example`", word=origin
                )
        return [origin.lower() for origin in origins]
