"""watch_journal: the journal becomes numbers and alarms."""

from typing import ClassVar

from llmspec.card import Engine


class WatchJournal(Engine):
    """Latency, throughput, tokens and errors from the endpoint's journal."""

    stage: ClassVar[str] = "monitors"
    work: ClassVar[str] = "backends.work.watch_journal:watch"
    tool: ClassVar[str] = "plotly"
