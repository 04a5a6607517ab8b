"""What a job elsewhere says, line by line: Dagster's log and the terminal's progress here, and a log of our own.

A job's container often reaches nothing on the network, and its log comes to us anyway. So the work writes its Pipes messages into
the log, and they are taken out of it here.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmspec import secrets
from llmspec.errors import FAILED
from llmspec.home import log_file
from llmspec.job import Job
from llmspec.progress import publish

if TYPE_CHECKING:
    import dagster


class Passing:
    """A message handler of Dagster's that passes progress on at once to whoever listens in this process."""

    def __init__(self, handler: Any, stage: str):
        self._handler, self._stage = handler, stage

    def handle_message(self, message: Any) -> None:
        payload = (message.get("params") or {}).get("payload")
        if message["method"] == "report_custom_message" and isinstance(payload, dict) and "progress" in payload:
            publish(self._stage, "progress", **payload["progress"])
            return
        self._handler.handle_message(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


@dataclass
class Talk:
    """One job's lines, as they come."""

    job: Job
    context: Any
    """Dagster's, of the step."""
    log: Path
    """All that it says, on this machine."""
    file: IO[str]
    bootstrap: Mapping[str, str] = field(default_factory=dict)
    """What the work needs in its environment to write its messages into its log."""
    handler: Any = None
    failure: str = ""
    """What the work said last of why it failed."""

    over: bool = False
    """Whether the work has said goodbye."""

    told_to_end: bool = False
    """Whether whoever waits for the work was interrupted."""

    def hear(self, line: str) -> None:
        line = self._scrubbed(line.rstrip("\n"))
        if (message := _message(line)) is not None:
            if message["method"] == "opened":  # another container may have failed before this one
                self.failure, self.over = "", False
            self.over = self.over or message["method"] == "closed"
            self.handler.handle_message(message)
            return
        self.file.write(line + "\n")
        self.file.flush()
        if line.startswith(FAILED):
            self.failure = line.removeprefix(FAILED)
        elif self.failure:
            self.failure += f"\n{line}"

    def note(self, text: str) -> None:
        """Of the job, by us: to the terminal, to Dagster and to the log."""
        publish(self.job.stage, "note", text=text)
        self.context.log.info(text)
        self.file.write(f"llmspec: {text}\n")
        self.file.flush()

    def _scrubbed(self, line: str) -> str:
        for name in secrets.names_in([self.job.options]):
            if value := os.environ.get(name):
                line = line.replace(value, "***")
        return line


@contextmanager
def talking(context: "dagster.AssetExecutionContext", job: Job) -> Iterator[Talk]:
    """A Pipes session whose messages come out of a log."""
    from dagster import PipesEnvContextInjector, PipesMessageReader, open_pipes_session

    log = log_file(job.spec, job.stage, job.key)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        talk = Talk(job, context, log, file)

        class Reader(PipesMessageReader):
            """Gets its messages from `Talk.hear`."""

            expected_writer_count = 1

            @contextmanager
            def read_messages(self, handler: Any) -> Iterator[dict[str, Any]]:
                talk.handler = Passing(handler, job.stage)
                yield {"stdio": "stdout"}

            def no_messages_debug_text(self) -> str:
                return f"what it said is in {log}"

        with open_pipes_session(context.op_execution_context, PipesEnvContextInjector(), Reader()) as session:
            talk.bootstrap = session.get_bootstrap_env_vars()
            yield talk


def _message(line: str) -> Any:
    """A message of Pipes; None for a line like any other."""
    if not line.startswith('{"__dagster_pipes_version"'):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "method" in found else None
