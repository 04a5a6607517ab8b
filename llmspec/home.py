"""Where llmspec keeps what belongs to this machine and this project: logs, the endpoint's state, Dagster's database."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from llmspec.errors import LockedError
from llmspec.lock import held


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
    return home() / "run" / f"{_called(name, target)}{CANDIDATE if candidate else ''}"


def journal_folder(name: str, target: str, candidate: bool = False) -> Path:
    """What an endpoint was asked and answered. What a candidate is asked is no part of what is monitored."""
    return home() / "journal" / f"{_called(name, target)}{CANDIDATE if candidate else ''}"


def access_folder(name: str, target: str) -> Path:
    """Who may ask the endpoint, and who did what to it: its keys and its audit trail. `destroy` keeps both."""
    return home() / "access" / _called(name, target)


def _called(name: str, target: str) -> str:
    """What its folders are called. They were called with a hyphen alone once: those are its own as soon as no endpoint works in
    them, so that nobody loses keys, trail or journal, and what runs goes on where it is."""
    own, elder = _own(name, target), f"{name}-{target}"
    owner = _owner(elder)
    if owner is None and elder != own:
        _copy(home() / "access" / elder, home() / "access" / own)
    if owner is None or elder == _own(*owner):
        return own
    if not _works(elder):
        _move(elder, _own(*owner))
        return own
    if owner != (name, target):
        fault = f"{home() / 'run' / elder} is for {name} at {target}, and {owner[0]} at {owner[1]} is still served from it"
        cure = f"stop that once, llmspec stop its llm.yaml --target {owner[1]}: it begins again in a folder of its own"
        raise LockedError(f"{fault}\n  {cure}")
    return elder


def _own(name: str, target: str) -> str:
    """No other product's: a dot, which no name holds, comes before a target that has a hyphen. `shop` at `eu-prod` would
    otherwise be `shop-eu` at `prod`."""
    return f"{name}{'.' if '-' in target else '-'}{target}"


def _owner(called: str) -> tuple[str, str] | None:
    """Name and target of the release that an endpoint served there last."""
    for folder in (called, called + CANDIDATE):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            state = json.loads((home() / "run" / folder / "state.json").read_text(encoding="utf-8"))
            return state["spec"], state["target"]
    return None


def _works(called: str) -> bool:
    """Whether an endpoint, or a candidate's, has this folder."""
    return any(held(home() / "run" / folder / "lock") for folder in (called, called + CANDIDATE))


def _move(elder: str, own: str) -> None:
    """The folder that says whose they are comes last: what a crash left is moved the next time."""
    for kind, end in (("access", ""), ("journal", ""), ("journal", CANDIDATE), ("run", CANDIDATE), ("run", "")):
        old, new = home() / kind / f"{elder}{end}", home() / kind / f"{own}{end}"
        if old.exists() and not new.exists():
            old.rename(new)


def _copy(elder: Path, own: Path) -> None:
    """Nothing tells whose keys these are: whoever they let in so far is let in, and where there are keys nobody else is."""
    if elder.exists() and not own.exists():
        partial = own.with_name(f"{own.name}.{os.getpid()}")
        shutil.copytree(elder, partial)
        partial.rename(own)


def log_folder(name: str) -> Path:
    """What the jobs of a product said."""
    return home() / "logs" / name


def log_file(name: str, stage: str, key: str) -> Path:
    """What one job said; with `*` as its key, a pattern of all of a stage's."""
    return log_folder(name) / f"{stage}-{key}.log"
