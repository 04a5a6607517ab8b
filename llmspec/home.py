"""Where llmspec keeps what belongs to this project and this machine."""

import os
from pathlib import Path


def home() -> Path:
    """`.llmspec` in the project's root, where commands are run; LLMSPEC_HOME names another."""
    return Path(os.environ.get("LLMSPEC_HOME") or Path.cwd() / ".llmspec")


def run_folder(name: str, target: str) -> Path:
    """The live endpoint's own files: its state, its logs, its lock."""
    return home() / "run" / f"{name}-{target}"


def journal_folder(name: str, target: str) -> Path:
    """What the endpoint was asked and answered."""
    return home() / "journal" / f"{name}-{target}"
