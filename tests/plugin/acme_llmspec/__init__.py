"""Somebody else's package: an engine that makes rows, and a place that runs jobs in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from llmspec.card import Engine, Place
from llmspec.errors import PlaceError
from llmspec.job import Job
from llmspec.section import SecretText


class AcmeRows(Engine):
    """Rows from JSON lines, shouted when asked."""

    stage: ClassVar[str] = "data"
    work: ClassVar[str] = "acme_llmspec.rows:rows"
    tool: ClassVar[str] = "json"

    shout: bool = False
    """Answers in capitals."""
    badge: SecretText | None = None
    """Shown to the row service."""
    trip: bool = False
    """Fail, and say the badge in the error."""


class AcmeBox(Place):
    """Jobs in a folder, one after the other."""

    runs: ClassVar[tuple[str, ...]] = ("data", "features")

    label: str = "box"
    """Written beside each job that it ran."""

    def run(self, context: Any, job: Job) -> None:
        folder = Path(job.output).parent
        folder.mkdir(parents=True, exist_ok=True)
        order = folder / "job.json"
        order.write_text(job.to_json(), encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "backends.work", str(order)], capture_output=True, text=True, env={**os.environ}
        )
        (folder / f"{self.label}.ran").write_text(job.key, encoding="utf-8")
        if ended.returncode:
            raise PlaceError(f"acme_box: {ended.stderr.strip().splitlines()[-1]}")


class AcmeSoap(Engine):
    """Rows washed by a library that nobody has installed."""

    stage: ClassVar[str] = "data"
    work: ClassVar[str] = "acme_llmspec.rows:rows"
    tool: ClassVar[str] = "soap & water"  # a kind that Dagster refuses
    requires: ClassVar[tuple[str, ...]] = ("acme_soap_sdk",)
    install: ClassVar[str] = "pip install 'acme-llmspec[soap]'"
