"""What an image installs: `python containers/wanted.py serve otel` prints the requirements of these extras, one per line.

An image never schedules, so Dagster itself stays out: less to download, less to keep patched.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

NOT_IN_IMAGES = ("dagster",)
GPU = "onnxruntime-gpu"


def name_of(requirement: str) -> str:
    return re.split(r"[\[=<>!~; ]", requirement)[0].lower()


def wanted(project: dict[str, object], extras: list[str], locked: dict[str, str]) -> Iterator[str]:
    """Core and extras, in order. KeyError for an extra that there is not."""
    core, optional = project["dependencies"], project["optional-dependencies"]
    assert isinstance(core, list)
    assert isinstance(optional, dict)
    for requirement in dict.fromkeys([*core, *(item for extra in extras for item in optional[extra])]):
        if name_of(requirement) == GPU:
            yield f"{GPU}=={locked['onnxruntime']}"  # built from the same source, under the same number
        elif name_of(requirement) not in NOT_IN_IMAGES:
            yield requirement


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (line.split("==") for line in Path("requirements.lock").read_text(encoding="utf-8").splitlines() if "==" in line)
    locked = {name.lower(): version for name, version in pins if not name.startswith("#")}
    sys.stdout.writelines(f"{line}\n" for line in wanted(project, sys.argv[1:], locked))


if __name__ == "__main__":
    main()
