"""Containers as local processes: the real entry points, started as SageMaker starts them, in a folder laid out like /opt/ml."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from serving_parts import PLAIN, ROOT, eventually

from llmspec import container
from llmspec.job import Job
from llmspec.release import Release

SERVE = "backends.serving.container"
WORK = "backends.work.container"
FILES = {SERVE: ROOT / "containers" / "serving.Dockerfile", WORK: ROOT / "containers" / "training.Dockerfile"}
"""A door, and the image that it is the door of."""
GRANTED = {container.GRANTS: "use,read_metrics"}


def instructions(file: Path) -> list[tuple[str, str]]:
    """(COPY, 'a b c'), in order; comments are gone and continued lines are one."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.strip().partition(" ") for line in joined)]


def said(file: Path, word: str) -> list[str]:
    return [rest for instruction, rest in instructions(file) if instruction == word]


def environment(**more: str) -> dict[str, str]:
    """What a container has: no variable of ours but those that it is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLMSPEC", "DAGSTER", "OTEL"))}
    ours = {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "HOME": "/nonexistent"}
    return clean | ours | more


@dataclass
class Container:
    """A process that was started, and what it has said on stdout."""

    process: "subprocess.Popen[str]"
    port: int
    told: dict[str, str]
    """Its environment."""
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ping(self) -> int:
        """The status, 0 when nobody listens."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/ping", timeout=2, verify=PLAIN).status_code
        return 0

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["line"] == kind]

    def logged(self) -> str:
        return "\n".join(line["message"] for line in self.lines("log"))

    def ready(self) -> "Container":
        eventually(lambda: self.ping() == 200 or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.said
        return self

    def ended(self, seconds: float = 60) -> int:
        """Its exit code, once all that it said was read."""
        code = self.process.wait(seconds)
        self.reader.join(10)
        return code

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.said.extend(iter(map(json.loads, self.process.stdout)))


def model_folder(opt_ml: Path, artifact: Path) -> Path:
    """The onnx artifact as SageMaker lays an uncompressed prefix: files, manifest included, that cannot be written."""
    folder = opt_ml / "model"
    shutil.copytree(artifact, folder)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@contextlib.contextmanager
def serving(model: Path | str, release: Release, **more: str) -> Iterator[Container]:
    """`docker run IMAGE serve`; nothing is left of it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = environment(**{container.MODEL: str(model), "PORT": str(port), **container.packed(release), **more})
    command = [sys.executable, "-P", "-m", SERVE, "serve"]
    where = model if isinstance(model, Path) else more["TMPDIR"]
    with subprocess.Popen(command, cwd=where, env=told, stdout=subprocess.PIPE, text=True) as process:
        started = Container(process, port, told)
        try:
            yield started
        finally:
            process.send_signal(signal.SIGKILL)
            started.ended()


def lay_out(opt_ml: Path, job: Job) -> Path:
    """A job as SageMaker lays it: its paper and each input in a channel of its own."""
    channels = opt_ml / "input" / "data"
    for name, item in job.inputs.items():
        shutil.copytree(item.uri, channels / name)
    for _, path, place in container.source_files(job):
        (channels / container.SOURCES / place).parent.mkdir(parents=True)
        shutil.copyfile(path, channels / container.SOURCES / place)
    (channels / "job").mkdir(parents=True)
    (channels / "job" / "job.json").write_text(job.to_json(), encoding="utf-8")
    return opt_ml


def working(opt_ml: Path, **more: str) -> "subprocess.Popen[str]":
    """`docker run IMAGE train`, what it says on one pipe."""
    told = environment(**{container.BASE: str(opt_ml), **more})
    command = [sys.executable, "-P", "-m", WORK, "train"]
    return subprocess.Popen(command, env=told, cwd=opt_ml, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def worked(opt_ml: Path, **more: str) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    process = working(opt_ml, **more)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said
