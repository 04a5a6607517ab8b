"""The door: `python -m backends.work job.json` does one job, whatever its place, and writes its manifest last."""

import gc
import importlib
import os
import platform
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backends.work.kept import NAME
from backends.work.report import Channel, Report
from llmspec import copies
from llmspec.errors import DAMAGED_CODE, FAILED, DamagedError, LLMSpecError
from llmspec.git import commit
from llmspec.home import root
from llmspec.job import Job
from llmspec.secrets import resolve_at, scrub
from llmspec.shelf import File, Folder, files_in, partial, sha256_of, shelf_at
from llmspec.store import Artifact, Manifest, content_digest, seal

TOOLS = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "onnxruntime",
    "onnxruntime-genai",
    "pyspark",
    "pysail",
    "numpy",
)


class Terminal:
    """The door opened by hand, or in a container whose log somebody collects: that gets no line that moves."""

    def progress(self, event: dict[str, Any]) -> None:
        if sys.stderr.isatty():
            print(f"\r{event['done']:,.0f}/{event['total']:,.0f} {event['unit']}", end="", file=sys.stderr)

    def log(self, text: str) -> None:
        print(scrub(text), file=sys.stderr)


class Pipes:
    """Opened by Dagster."""

    def __init__(self, context: Any):
        self.context = context

    def progress(self, event: dict[str, Any]) -> None:
        self.context.report_custom_message({"progress": event})

    def log(self, text: str) -> None:
        print(text, flush=True)
        self.context.log.info(scrub(text))


@contextmanager
def channel() -> Iterator[Channel]:
    from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes

    loader: Any = PipesEnvVarParamsLoader
    if not loader().is_dagster_pipes_process():
        yield Terminal()
        return
    with open_dagster_pipes() as context:
        yield Pipes(context)


def die_with_parent() -> None:
    """The parent holds the other end of our stdin: when it is gone, however it went, so are we."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.environ.get("LLMSPEC_PARENT") == "stdin":
        threading.Thread(target=watch, daemon=True).start()


def called(name: str) -> None:
    """What `top` shows of this process."""
    with suppress(OSError):  # no Linux, or a container that lets nobody say so
        Path("/proc/self/comm").write_text(name, encoding="utf-8")


def installed() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def named(work: str) -> Callable[..., dict[str, Any]]:
    """What does the work. Its tools come with thousands of classes, which stay: looking for garbage among them took a sixth of
    the whole time of a small job."""
    module, _, function = work.partition(":")
    gc.disable()
    try:
        found: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), function)
    finally:
        gc.freeze()
        gc.enable()
    return found


def hashed(grown: Path) -> dict[str, File]:
    """What the work made. Its checkpoint is no part of that."""
    made = [name for name in files_in(grown) if not name.startswith(f"{NAME}/")]
    return {name: File(sha256_of(grown / name), (grown / name).stat().st_size) for name in made}


def do(job: Job, report: Report) -> Manifest:
    """Open the inputs, do the work, hash what came out, write the manifest last."""
    started = time.monotonic()
    work = named(job.work)
    output = copies.grows_at(job)
    grown = partial(output)
    grown.mkdir(parents=True, exist_ok=True)
    inputs = {name: copies.at_hand(item.uri) for name, item in job.inputs.items()}
    digests = {path: digest for files in job.files.values() for path, digest in files.items()}
    sources = {"files": {source: sorted(files) for source, files in job.files.items()}, "digests": digests}
    options = resolve_at(job.options, job.secrets) | sources
    metrics = work(options, inputs, grown, report)
    files = hashed(grown)
    manifest = Manifest(
        spec=job.spec,
        stage=job.stage,
        key=job.key,
        digest=content_digest(files),
        engine=job.engine,
        version=job.version,
        options=job.keyed,
        inputs={name: item.digest for name, item in job.inputs.items()},
        sources=job.files,
        files=files,
        metrics=metrics,
        summary=scrub(report.summary),
        seconds=round(time.monotonic() - started, 2),
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        git=commit(),
        versions=installed(),
    )
    shutil.rmtree(grown / NAME, ignore_errors=True)  # not before: a kill while much was hashed would cost all of the training
    seal(grown, output, manifest)
    if str(output) != job.output:
        report.log(f"sending {sum(file.bytes for file in files.values()) / 1e6:,.1f} MB to {job.output}")
        copies.send(Artifact(Folder(output), manifest), shelf_at(job.output, root()))
    return manifest


def main() -> None:
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    job = Job.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    called(f"llmspec {job.stage}")
    with channel() as out:
        code, failure = attempt(job, out)
    if failure:
        # Only now: Pipes would pass the exception on as it is, and one of its causes can hold a secret.
        print(FAILED + failure, file=sys.stderr)
    # All is sealed or told: whatever threads the tools still have, nobody waits for their goodbyes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def attempt(job: Job, out: Channel) -> tuple[int, str]:
    """Do the job: how the process is to end, and why when it failed."""
    try:
        manifest = do(job, Report(out))
    except LLMSpecError as error:
        return DAMAGED_CODE if isinstance(error, DamagedError) else 1, scrub(str(error))
    except Exception as error:  # noqa: BLE001 - the door: whatever the work raises is told, without secrets
        print(scrub(traceback.format_exc()), file=sys.stderr)
        return 1, scrub(f"{type(error).__name__}: {error}")
    out.log(f"{job.stage}: {manifest.summary or 'done'} in {manifest.seconds:.1f} s")
    return 0, ""
