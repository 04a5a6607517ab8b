"""Where llmspec keeps what belongs to this machine and this project: logs, the endpoint's state, Dagster's database."""

import os
from pathlib import Path


def home() -> Path:
    """The `.llmspec` folder: of the working directory, or where LLMSPEC_HOME says."""
    return Path(os.environ.get("LLMSPEC_HOME") or Path.cwd() / ".llmspec").absolute()


def root() -> Path:
    """What relative stores are relative to."""
    return home().parent
