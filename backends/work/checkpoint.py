"""Checkpoints: all that a killed run needs to end as if it had not been killed."""

import os
import shutil
import signal
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch

from backends.work.kept import LAST, NAME


def save(output: Path, state: dict[str, Any]) -> None:
    """All of it or nothing: the last whole checkpoint stays until this one is on disk."""
    folder = output / NAME
    folder.mkdir(exist_ok=True)
    growing = folder / "growing.pt"
    with growing.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    growing.replace(folder / LAST)


def load(output: Path) -> dict[str, Any] | None:
    """The last one, or None. A damaged one is worth nothing: the run starts over, to the same end."""
    path = output / NAME / LAST
    if not is_whole(path):
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def is_whole(path: Path) -> bool:
    """torch writes a zip with a check sum for each part."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (FileNotFoundError, zipfile.BadZipFile):
        return False


def clear_but(output: Path) -> None:
    """Take away what a killed run left, but its checkpoint."""
    for path in output.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name != NAME:
            shutil.rmtree(path)


class Whole:
    """What is inside happens wholly: a signal to end waits until it is over."""

    def __enter__(self) -> Self:
        self._came: int | None = None
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._came is not None:
            signal.raise_signal(self._came)
