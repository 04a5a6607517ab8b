"""local: this machine. Jobs are child processes, the endpoint is a supervised process."""

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from backends.places.local_work import GRACE_SECONDS, end, loading, start
from backends.places.talk import Passing
from llmspec import copies, secrets
from llmspec.card import Engine, Place
from llmspec.errors import DAMAGED_CODE, FAILED, DamagedError, PlaceError
from llmspec.home import log_file, run_folder
from llmspec.job import Job
from llmspec.release import Live, Release
from llmspec.section import STAGES

if TYPE_CHECKING:
    import dagster


class Local(Place):
    """This machine: jobs in child processes, the endpoint in a supervised one."""

    runs: ClassVar[tuple[str, ...]] = tuple(stage for stage in STAGES if stage != "endpoint")
    serves: ClassVar[bool] = True

    def expecting(self, engines: Sequence[Engine]) -> AbstractContextManager[None]:
        """Jobs that need the same tools load them once, while the stages before them work."""
        return loading(engines)

    def run(self, context: "dagster.AssetExecutionContext", job: Job) -> None:
        """Open the work door in a child process; progress and logs come back through Dagster Pipes."""
        from dagster import PipesEnvContextInjector, open_pipes_session

        log = log_file(job.spec, job.stage, job.key)
        log.parent.mkdir(parents=True, exist_ok=True)
        order = log.with_suffix(".job.json")
        order.write_text(job.to_json(), encoding="utf-8")
        with open_pipes_session(context.op_execution_context, PipesEnvContextInjector(), reader(job.stage)) as session:
            child = start(order, session.get_bootstrap_env_vars(), job.work)
            scribe = threading.Thread(target=copy_scrubbed, args=(child.stdout, log, job), daemon=True)
            scribe.start()
            try:
                code = child.wait()
            finally:
                end(child, job.stage)
                scribe.join(timeout=GRACE_SECONDS)
        if code != 0:
            raise (DamagedError if code == DAMAGED_CODE else PlaceError)(cause(log, code), str(log))

    def serve(self, release: Release) -> Live:
        """Through a supervisor of the endpoint's own, which outlives this process."""
        from backends.places import local_endpoint

        return local_endpoint.serve(_here(release))

    def apart(self, release: Release) -> AbstractContextManager[str]:
        """In a worker of its own on a free port of loopback."""
        from backends.places.local_worker import apart

        return apart(_here(release))

    def live(self, name: str, target: str) -> Live | None:
        from backends.places import local_endpoint

        return local_endpoint.live(name, target)

    def stop(self, name: str, target: str) -> bool:
        from backends.places import local_endpoint

        return local_endpoint.stop(name, target)

    def try_out(self, release: Release) -> Live:
        from backends.places import local_endpoint

        return local_endpoint.serve(_here(release), candidate=True)

    def tried(self, name: str, target: str) -> Live | None:
        from backends.places import local_endpoint

        return local_endpoint.live(name, target, candidate=True)

    def end_trial(self, name: str, target: str) -> bool:
        from backends.places import local_endpoint

        return local_endpoint.stop(name, target, candidate=True)

    def logs(self, name: str, target: str) -> str:
        return str(run_folder(name, target))


def _here(release: Release) -> Release:
    """The release with its artifact on this machine, every byte looked at."""
    return replace(release, artifact=str(copies.at_hand(release.artifact)))


def copy_scrubbed(said: IO[bytes], log: Path, job: Job) -> None:
    """What the child says goes to the log, without the values of the secrets that its job refers to."""
    hidden = [os.environ[name].encode() for name in secrets.names_in([job.options]) if os.environ.get(name)]
    with log.open("wb") as file:
        for line in said:
            for value in hidden:
                line = line.replace(value, b"***")
            file.write(line)
            file.flush()


def cause(log: Path, code: int) -> str:
    """The work's own last word, or how the process ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").split(FAILED)
    if len(lines) > 1:
        return lines[-1].strip()
    if code < 0:
        return f"its process was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    return f"its process ended with code {code}"


def reader(stage: str) -> Any:
    """Pipes messages from a file, with progress passed on live to whoever listens in this process."""
    from dagster import PipesTempFileMessageReader

    class Reader(PipesTempFileMessageReader):
        expected_writer_count = 1

        def read_messages(self, handler: Any) -> Any:
            return super().read_messages(Passing(handler, stage))  # type: ignore[arg-type]

    return Reader()
