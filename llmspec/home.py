"""Where llmspec keeps what belongs to this machine and this project: logs, the endpoint's state, Dagster's database."""

import os
from pathlib import Path


def home() -> Path:
    """The `.llmspec` folder: of the working directory, or where LLMSPEC_HOME says."""
    return Path(os.environ.get("LLMSPEC_HOME") or Path.cwd() / ".llmspec").absolute()


def root() -> Path:
    """What relative stores are relative to."""
    return home().parent


CANDIDATE = "@candidate"
"""Ends the folders of the candidate's endpoint, which runs beside the live one."""


def run_folder(name: str, target: str, candidate: bool = False) -> Path:
    """An endpoint's own files: its state, its logs, its lock."""
    return home() / "run" / f"{name}-{target}{CANDIDATE if candidate else ''}"


def journal_folder(name: str, target: str, candidate: bool = False) -> Path:
    """What an endpoint was asked and answered. What a candidate is asked is no part of what is monitored."""
    return home() / "journal" / f"{name}-{target}{CANDIDATE if candidate else ''}"


def access_folder(name: str, target: str) -> Path:
    """Who may ask the endpoint, and who did what to it: its keys and its audit trail. `destroy` keeps both."""
    return home() / "access" / f"{name}-{target}"


def log_folder(name: str) -> Path:
    """What the jobs of a product said."""
    return home() / "logs" / name


def log_file(name: str, stage: str, key: str) -> Path:
    """What one job said; with `*` as its key, a pattern of all of a stage's."""
    return log_folder(name) / f"{stage}-{key}.log"
