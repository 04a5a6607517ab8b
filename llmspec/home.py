"""Where llmspec keeps what belongs to this machine and this project: logs, the endpoint's state, Dagster's database."""

import os
from pathlib import Path


def home() -> Path:
    """The `.llmspec` folder: of the working directory, or where LLMSPEC_HOME says."""
    return Path(os.environ.get("LLMSPEC_HOME") or Path.cwd() / ".llmspec").absolute()


def root() -> Path:
    """What relative stores are relative to."""
    return home().parent


def run_folder(name: str, target: str) -> Path:
    """The live endpoint's own files: its state, its logs, its lock."""
    return home() / "run" / f"{name}-{target}"


def journal_folder(name: str, target: str) -> Path:
    """What the endpoint was asked and answered."""
    return home() / "journal" / f"{name}-{target}"


def access_folder(name: str, target: str) -> Path:
    """Who may ask the endpoint, and who did what to it: its keys and its audit trail. `destroy` keeps both."""
    return home() / "access" / f"{name}-{target}"
