"""What tests share: a project in a folder of its own, and the command line as its user runs it."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from collecting import pytest_collection_modifyitems
from hypothesis import settings

if TYPE_CHECKING:
    from pulumi_parts import World

__all__ = ["pytest_collection_modifyitems"]
ROOT = Path(__file__).parents[1]
pytest.register_assert_rewrite("moto_parts", "page_parts")  # plugins of some tests, and imported by others before those are seen

# The same examples in every run: a test that fails today failed yesterday. Look further with --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

TINY = """\
llmspec: 1
name: tiny
description: A product small enough to be made in a test.
data:
  sources:
    - path: rows.jsonl
  clean: [collapse_whitespace, drop_missing]
features:
  tokenizer: {train: bpe, vocab_size: 400}
  max_tokens: 64
model:
  base: {scratch: tiny}
  method: full
  training: {epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512}
evaluation:
  rows: 4
  gates: [perplexity <= 100000]
endpoint:
  port: 0
  limits: {input_tokens: 64, output_tokens: 16, concurrency: 4}
"""


def tiny_rows(num: int = 40) -> str:
    """A few dozen questions with answers."""
    things = ("kettle", "lamp", "fan", "radio", "clock")
    lines = [
        {
            "question": f"Where do I find {things[i % 5]} number {i}?",
            "answer": f"The {things[i % 5]} number {i} is on shelf {i % 7}.",
        }
        for i in range(num)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@dataclass
class Project:
    """A user's folder."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def store(self) -> Path:
        return self.folder / ".llmspec" / "store"

    def write(self, text: str = TINY) -> "Project":
        self.spec.write_text(text, encoding="utf-8")
        if not (self.folder / "rows.jsonl").exists():
            (self.folder / "rows.jsonl").write_text(tiny_rows(), encoding="utf-8")
        return self

    def edit(self, old: str, new: str) -> "Project":
        text = self.spec.read_text(encoding="utf-8")
        assert old in text
        return self.write(text.replace(old, new))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "llmspec", *words]

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLMSPEC", "DAGSTER"))}
        # -P keeps the user's folder off the path; the checkout under test must stay on it.
        return {**clean, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **self.env}

    def run(self, *words: str, check: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """The command line, to its end."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def plan(self, *words: str) -> dict[str, Any]:
        """The plan as JSON."""
        found = json.loads(self.run("plan", "tiny.yaml", "-o", "json", *words).stdout)
        assert isinstance(found, dict)
        return found

    def actions(self, *words: str) -> dict[str, str]:
        return {step["stage"]: step["action"] for step in self.plan(*words)["steps"]}

    def digests(self) -> dict[str, str]:
        """Stage -> content digest of what is current."""
        found = {}
        for head in sorted(self.store.glob("tiny/*/*.head")):
            manifest = head.parent / head.read_text().strip() / "manifest.json"
            if head.parent.name != "monitors":
                found[head.parent.name] = json.loads(manifest.read_text())["digest"]
        return found

    def copy(self, folder: Path) -> "Project":
        """The same project elsewhere: its own store, journal and endpoint."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("run", "stores.json"))
        return Project(folder, dict(self.env))

    def forget(self, *stages: str) -> "Project":
        """As if these were never made. Without `endpoint` nothing was ever live, and so nothing is to be started again."""
        for stage in stages:
            shutil.rmtree(self.store / "tiny" / stage)
        return self

    def stop(self) -> None:
        """End its endpoint. Where none was ever started there is nothing to ask a process for."""
        if (self.folder / ".llmspec" / "run").exists():
            self.run("stop", "tiny.yaml", check=False)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A fresh project; its endpoint is stopped at the end."""
    made = Project(tmp_path / "shop")
    made.folder.mkdir()
    made.write()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def applied_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A product that was applied once, for tests that look and for `applied` to copy."""
    made = trained(tmp_path_factory).copy(tmp_path_factory.mktemp("applied") / "shop")
    made.run("apply", "tiny.yaml", "--yes")  # all is there but the endpoint, which is a process of this worker's
    yield made
    made.stop()


def trained(factory: pytest.TempPathFactory) -> Project:
    """A whole applied product, its endpoint stopped: made by the first of pytest's workers that asks, while others wait."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = Project(shared / "trained" / "shop")
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.folder.exists():
            making = Project(shared / "trained" / "making")
            making.folder.mkdir(parents=True)
            making.write().run("apply", "tiny.yaml", "--yes")
            making.stop()
            making.folder.rename(made.folder)
    return made


@pytest.fixture
def applied(applied_once: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of an applied product, to do with as the test likes. Its endpoint is not running."""
    made = applied_once.copy(tmp_path / "shop")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def bare_ground() -> "World":
    """What a foundation in AWS is at the least, as Pulumi's engine would be asked for it."""
    from foundation_parts import small  # loads pulumi, which most tests do not need

    return small()


@pytest.fixture(scope="session")
def full_ground() -> "World":
    """A foundation with everything on."""
    from foundation_parts import full

    return full()
