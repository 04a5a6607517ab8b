"""What this machine can run, what is missing, and the cure."""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmspec import registry
from llmspec.card import Place
from llmspec.errors import StoreError
from llmspec.home import home
from llmspec.present import megabytes
from llmspec.shelf import Folder

Line = tuple[str, str, str]
"""Mark, what, and what of it."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="end with 1 when anything is missing")


def run(args: argparse.Namespace) -> int:
    found = [*machine(), *tools(), *backends()]
    for mark, what, said in found:
        print(f"  {mark} {what:<16} {said}")
    missing = [what for mark, what, _ in found if mark == "✗"]
    print(f"{len(missing)} missing." if missing else "Everything that is installed can run.")
    return 1 if missing and args.strict else 0


def machine() -> Iterator[Line]:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield ("✓" if fits else "✗", "python", platform.python_version() + ("" if fits else ": use 3.11, 3.12 or 3.13"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield ("✓", "cores", str(cores))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    enough = memory >= 4000
    yield ("✓" if enough else "✗", "memory", megabytes(memory) + ("" if enough else ": the quickstart wants 4 GB"))
    where = next(folder for folder in (home(), *home().parents) if folder.exists())
    free = shutil.disk_usage(where).free / 1e6
    yield ("✓" if free > 2000 else "✗", "disk", f"{megabytes(free)} free at {where}" + ("" if free > 2000 else ": make room"))
    try:
        Folder(home() / "store").writable()
        yield ("✓", "store", str(home() / "store"))
    except StoreError as error:
        yield ("✗", "store", str(error).splitlines()[0])


def tools() -> Iterator[Line]:
    """What some engines use when it is there; nothing of the quickstart needs these."""
    java = shutil.which("java")
    yield ("✓" if java else "·", "java", java or "not here: `engine: {spark: …}` needs it, `sail` does not")
    gpu = Path("/dev/nvidia0").exists()
    yield ("✓" if gpu else "·", "gpu", "NVIDIA" if gpu else "none: training and serving use the CPU")
    yield ("✓" if shutil.which("git") else "·", "git", shutil.which("git") or "not here: manifests will not name a commit")
    try:
        yield ("✓", "dagster UI", version("dagster-webserver"))
    except PackageNotFoundError:
        yield ("·", "dagster UI", "not installed: pip install 'llmspec[ui]'")


def backends() -> Iterator[Line]:
    """Every registered engine and place. What only a cloud needs is missing nowhere else."""
    for name, card in [*registry.engines(), *registry.places()]:
        lacks = card.missing()
        mark = "✓" if not lacks else "·" if issubclass(card, Place) and card.cloud else "✗"
        yield (mark, name, f"needs {', '.join(lacks)}: {card.install}" if lacks else (card.__doc__ or "").split("\n")[0])
