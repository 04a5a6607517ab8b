"""monitors: what is watched once it is live."""

from typing import Annotated

from pydantic import Field

from llmspec.expressions import Alarm
from llmspec.registry import Engine, EngineOf
from llmspec.section import Duration, Section


class Monitors(Section):
    """Numbers from the journal, and when they should wake somebody."""

    engine: Annotated[Engine, EngineOf("monitors")] = Field(default="watch_journal", validate_default=True)
    """The tool that does it."""
    every: Duration = Field(default=900.0, ge=60)
    """How often Dagster looks, and how far back."""
    alarms: list[Alarm] = []
    """`p95_latency > 1s for 5m`, `error_rate > 0.01`."""
