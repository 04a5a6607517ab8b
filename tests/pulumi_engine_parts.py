"""The tests' own `pulumi`, on the path, with a folder for its cloud."""

import json
import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent


@dataclass
class Engine:
    """Where it is, and what its cloud holds."""

    folder: Path
    cloud: Path
    env: dict[str, str] = field(default_factory=dict)
    """What a process needs in its environment to find it."""

    def things(self) -> dict[str, dict[str, Any]]:
        """`s3.bucket.Bucket/acme` -> what it was made of."""
        found = sorted(self.cloud.rglob("*.json"))
        return {f"{file.parent.name}/{file.stem}": json.loads(file.read_text()) for file in found}

    def file(self, thing: str) -> Path:
        return self.cloud / f"{thing}.json"


def engine_in(folder: Path) -> Engine:
    """An executable named `pulumi` that runs our engine."""
    bin_, cloud = folder / "bin", folder / "cloud"
    bin_.mkdir(parents=True)
    cloud.mkdir()
    script = bin_ / "pulumi"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{TESTS}" exec "{sys.executable}" -P -m pulumi_engine "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(bin_), os.environ["PATH"]])
    return Engine(bin_, cloud, {"PATH": path, "PULUMI_ENGINE_CLOUD": str(cloud)})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """For a test's own process: `pulumi` is found, and llmspec's home is the test's."""
    made = engine_in(tmp_path / "engine")
    for name, value in {**made.env, "LLMSPEC_HOME": str(tmp_path / ".llmspec")}.items():
        monkeypatch.setenv(name, value)
    for name in ("PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_BACKEND_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    return made
