"""endpoint: how the artifact answers the world."""

from typing import Annotated, Literal

from pydantic import Field

from llmspec.registry import Engine, EngineOf
from llmspec.section import Duration, Like, Section, Size


class Limits(Section):
    """What one request, and all of them together, may take."""

    input_tokens: int = Field(default=2048, ge=16)
    """A longer prompt is refused with 400."""
    output_tokens: int = Field(default=512, ge=1)
    """The most that one answer may have; also its default."""
    concurrency: int = Field(default=16, ge=1, le=512)
    """Requests answered at the same time; the next ones wait."""
    queue: int = Field(default=64, ge=0)
    """How many may wait; the next one is refused with 429."""
    memory: Size | None = Field(default=None, gt=0)
    """For key-value memory, such as `2GB`: slots first, then the prefix cache. Where fewer than concurrency fit, fewer are made.
    Absent: what the slots need, at most three quarters of what is free, and up to 1 GB for prefixes."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Per client address; more is refused with 429. No limit when absent."""
    timeout: Duration = Field(default=60.0, gt=0)
    """A request that takes longer ends with what it has."""


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
