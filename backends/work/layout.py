"""Where a cloud's container lays things: SageMaker's /opt/ml, or the same under another base. Light: no tool is loaded."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmspec import container
from llmspec.errors import PlaceError
from llmspec.job import Digest, Input, Job, digest_of
from llmspec.shelf import sha256_of
from llmspec.store import open_artifact

BASE = "/opt/ml"
NOT_HERE = {"endpoint": "it is served, not done", "monitors": "it reads the journal, where the endpoint keeps it"}
_REASON = 1024
"""Characters of a reason that SageMaker reads."""


@dataclass(frozen=True)
class Layout:
    """The folders of one container."""

    base: Path
    output: Path
    """Where the artifact is put once it is whole."""
    paper: Path
    """The file that says what to do."""
    reason: Path
    """Where the platform looks for why it failed."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Layout":
        base = Path(environment.get(container.BASE) or BASE)
        paper = environment.get(container.JOB) or base / "input" / "data" / "job" / "job.json"
        output, reason = (environment.get(name) for name in (container.OUTPUT, container.REASON))
        return cls(base, Path(output or base / "model"), Path(paper), Path(reason or base / "output"))

    def job(self) -> Job:
        """As it was written where the spec is."""
        try:
            job = Job.from_json(self.paper.read_text(encoding="utf-8"))
        except OSError as error:
            cure = f"give it as the channel `job`, or name its file in {container.JOB}"
            raise PlaceError(f"no job at {self.paper} ({error.strerror}): {cure}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            cure = "it must come from the version of llmspec that is in this image"
            raise PlaceError(f"{self.paper} holds no job ({type(error).__name__}: {error}): {cure}") from error
        if job.stage in NOT_HERE:
            raise PlaceError(f"{job.stage} is no job for a container: {NOT_HERE[job.stage]}")
        return job

    def pipes(self) -> dict[str, str]:
        """What makes the work speak to Dagster through the log; nothing when nobody asked for it."""
        paper = self.paper.with_name(container.PIPES)
        told = json.loads(paper.read_text(encoding="utf-8")) if paper.exists() else {}
        return {name: str(value) for name, value in told.items() if name.startswith("DAGSTER_PIPES_")}

    @property
    def home(self) -> Path:
        """What else llmspec keeps, on the disk that a platform gives for what grows."""
        return self.base / "checkpoints" / "home"

    def channel(self, name: str) -> Path:
        return self.base / "input" / "data" / name

    def growing(self, job: Job) -> Path:
        """Where the artifact grows, and is sealed: beside it lies what SageMaker keeps over an interruption."""
        return self.base / "checkpoints" / job.key

    def located(self, job: Job) -> Job:
        """The same job, with everything where it lies here."""
        inputs = {name: replace(item, uri=str(self.channel(name))) for name, item in job.inputs.items()}
        files: dict[str, dict[str, Digest]] = {source: {} for source in job.files}
        for source, path, place in container.source_files(job):
            files[source][str(self.channel(container.SOURCES) / place)] = job.files[source][path]
        here = replace(job, inputs=inputs, files=files, output=str(self.growing(job)))
        assert here.key == job.key, "where things lie is no part of a key"
        return here

    def check(self, here: Job) -> None:
        """Every input is there, to the byte; else PlaceError with all that is not. And nobody else does the same."""
        faults = [*self._several(), *self._inputs(here), *self._files(here)]
        if faults:
            raise PlaceError("\n".join(faults))

    def _several(self) -> Iterator[str]:
        for path in (self.base / "input" / "config").glob("resource[cC]onfig.json"):
            hosts = json.loads(path.read_text(encoding="utf-8")).get("hosts", [])
            if len(hosts) > 1:
                yield f"{len(hosts)} machines were asked for, and one does this job: ask for one, the others would cost and idle"

    def _inputs(self, here: Job) -> Iterator[str]:
        for name, item in here.inputs.items():
            folder = Path(item.uri)
            if not folder.is_dir():
                yield f"input '{name}': there is no channel {folder}"
            elif not _is(folder, item):
                yield f"input '{name}': {folder} is not what the job was planned with: its content has another digest"

    def _files(self, here: Job) -> Iterator[str]:
        for source, files in here.files.items():
            for path, digest in files.items():
                if not Path(path).is_file():
                    yield f"source '{source}': {path} is missing"
                elif sha256_of(Path(path)) != digest:
                    yield f"source '{source}': {path} is not the file that the job was planned with"

    def tell(self, reason: str) -> None:
        """Where SageMaker looks: `failure` of a training job, `message` of a processing job."""
        self.reason.mkdir(parents=True, exist_ok=True)
        short = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
        for name in ("failure", "message"):
            (self.reason / name).write_text(short, encoding="utf-8")


def _is(folder: Path, item: Input) -> bool:
    """An artifact is verified by its manifest; a checkpoint from outside the store has a digest over all its files."""
    artifact = open_artifact(folder)
    if artifact and artifact.manifest.digest == item.digest:
        artifact.verify()
        return True
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of({path.relative_to(folder).as_posix(): sha256_of(path) for path in files}) == item.digest
