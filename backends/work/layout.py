"""Where a cloud's container lays things: SageMaker's /opt/ml, or the same under another base. Light: no tool is loaded."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends.work import fetched
from backends.work.kept import Kept
from llmspec import container
from llmspec.digests import checkpoint_in
from llmspec.errors import PlaceError
from llmspec.home import root
from llmspec.job import Digest, Input, Job, digest_of
from llmspec.shelf import partial, sha256_of, shelf_at
from llmspec.store import Artifact, open_artifact

BASE = "/opt/ml"
NOT_HERE = {"endpoint": "it is served, not done", "monitors": "it reads the journal, where the endpoint keeps it"}
_REASON = 1024
"""Characters of a reason that SageMaker reads."""


@dataclass(frozen=True)
class Layout:
    """The folders of one container, and the addresses in S3 of what lies in none of them."""

    base: Path
    output: str
    """Where the artifact is put once it is whole: a folder, or its place in the store."""
    paper: str
    """The file that says what to do."""
    reason: Path
    """Where the platform looks for why it failed."""
    checkpoints: str = ""
    """Where in S3 the last checkpoint is kept, when the platform keeps no folder."""
    most: str = ""
    """How many seconds the job may take."""
    spread: bool = False
    """Sources are read by Spark's workers, each the files that it needs, from where they were handed over."""

    @classmethod
    def of(cls, environment: Mapping[str, str], *, spread: bool = False) -> "Layout":
        base = Path(environment.get(container.BASE) or BASE)
        paper = environment.get(container.JOB) or str(base / "input" / "data" / "job" / "job.json")
        output, reason = (environment.get(name) for name in (container.OUTPUT, container.REASON))
        checkpoints, most = (environment.get(name, "") for name in (container.CHECKPOINTS, container.MOST_SECONDS))
        return cls(base, output or str(base / "model"), paper, Path(reason or base / "output"), checkpoints, most, spread)

    @property
    def most_seconds(self) -> float:
        """0 for as long as it needs."""
        try:
            return float(self.most or 0)
        except ValueError as error:
            raise PlaceError(f"{container.MOST_SECONDS} is {self.most!r}: write a number of seconds") from error

    def job(self) -> Job:
        """As it was written where the spec is."""
        try:
            job = Job.from_json(self._text())
        except OSError as error:
            cure = f"give it as the channel `job`, or name its file in {container.JOB}"
            raise PlaceError(f"no job at {self.paper} ({error.strerror}): {cure}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            cure = "it must come from the version of llmspec that is in this image"
            raise PlaceError(f"{self.paper} holds no job ({type(error).__name__}: {error}): {cure}") from error
        if job.stage in NOT_HERE:
            raise PlaceError(f"{job.stage} is no job for a container: {NOT_HERE[job.stage]}")
        return job

    def _text(self) -> str:
        if not fetched.there(self.paper):
            return Path(self.paper).read_text(encoding="utf-8")
        if (text := fetched.text_at(self.paper)) is None:
            raise PlaceError(f"no job at {self.paper}: apply again, which hands it over")
        return text

    @property
    def told(self) -> dict[str, str]:
        """What the work is told beyond what the container is told."""
        given = {container.GIVEN: "yes"} if self.spread else {}
        return {"LLMSPEC_HOME": str(self.base / "checkpoints" / "home"), **given, **self._pipes()}

    def _pipes(self) -> dict[str, str]:
        """What makes the work speak to Dagster through the log; nothing when nobody asked for it."""
        paper = f"{self.paper.rpartition('/')[0]}/{container.PIPES}"
        if fetched.there(paper):
            text = fetched.text_at(paper)
        else:
            text = Path(paper).read_text(encoding="utf-8") if Path(paper).exists() else None
        told = json.loads(text) if text else {}
        return {name: str(value) for name, value in told.items() if name.startswith("DAGSTER_PIPES_")}

    def channel(self, name: str) -> Path:
        return self.base / "input" / "data" / name

    def handed(self, name: str) -> str:
        """Where in S3 lies what no channel brought: beside the folder of the job's paper."""
        return f"{self.paper.rsplit('/', 2)[0]}/{name}"

    def growing(self, job: Job) -> Path:
        """Where the artifact grows, and is sealed: beside it lies what SageMaker keeps over an interruption."""
        return self.base / "checkpoints" / job.key

    def kept(self, job: Job) -> Kept | None:
        """Its checkpoint in S3."""
        return Kept(shelf_at(self.checkpoints, root()), partial(self.growing(job))) if self.checkpoints else None

    def done(self, job: Job) -> Artifact | None:
        """The artifact, when it is in the store already: a crash came between the manifest and the end."""
        found = open_artifact(shelf_at(self.output, root())) if fetched.there(self.output) else None
        return found if found and found.manifest.key == job.key and found.whole() else None

    def located(self, job: Job) -> Job:
        """The same job, with everything where it lies here."""
        inputs = {name: replace(item, uri=str(self.channel(name))) for name, item in job.inputs.items()}
        start = self.handed(container.SOURCES) if self.spread else str(self.channel(container.SOURCES))
        files: dict[str, dict[str, Digest]] = {source: {} for source in job.files}
        for source, path, place in container.source_files(job):
            files[source][f"{start}/{place}"] = job.files[source][path]
        here = replace(job, inputs=inputs, files=files, output=str(self.growing(job)))
        assert here.key == job.key, "where things lie is no part of a key"
        return here

    def fetch(self, job: Job) -> None:
        """What is in S3, and no platform laid out: handed over for this job, or in the store."""
        if not fetched.there(self.paper):
            return
        for name, item in job.inputs.items():
            if not self.channel(name).is_dir():
                handed = self.handed(name)
                fetched.bring(item.uri if fetched.there(item.uri) and not fetched.holds(handed) else handed, self.channel(name))
        sources = self.channel(container.SOURCES)
        if job.files and not self.spread and not sources.is_dir():
            fetched.bring(self.handed(container.SOURCES), sources)

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
                if fetched.there(path):
                    if fault := fetched.fault(path, digest):
                        yield f"source '{source}': {fault}"
                elif not Path(path).is_file():
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
    return digest_of({name: sha256_of(folder / name) for name in checkpoint_in(folder)}) == item.digest
