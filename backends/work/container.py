"""The door for a job in the cloud: `python -m backends.work.container train`, started by SageMaker or ECS; `spark` by EMR.

It finds the job and its inputs in their folders, or fetches them from S3, checks every byte, opens the work door in a child
process, and puts the artifact where it belongs, manifest last. What grows lies in `checkpoints`, which a platform or S3 keeps:
asked to end, the work saves itself, and a second start goes on from there. Why a job failed is said where the platform looks.
docs/container.md tells more.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from backends.work.layout import Layout
from llmspec import container, copies, secrets
from llmspec.errors import DAMAGED_CODE, FAILED, DamagedError, LLMSpecError, PlaceError
from llmspec.home import root
from llmspec.job import Job
from llmspec.shelf import MANIFEST, S3, partial, shelf_at, write_atomically
from llmspec.store import Artifact, open_artifact

TRAIN, SPARK = "train", "spark"
LATE = "it was ended because it took longer than max_runtime"
INTERRUPTED = 128 + signal.SIGTERM
"""The exit code that says: not failed, and not done."""


@dataclass
class Work:
    """The child that does it; a signal to end goes to it."""

    told: Mapping[str, str] = field(default_factory=dict)
    """What it is told beyond what the container is told."""
    child: "subprocess.Popen[str] | None" = None
    interrupted: bool = False
    late: bool = False

    def end_late(self, *_: "int | FrameType | None") -> None:
        """It has had all the time that it may have."""
        self.late = True
        if self.child is None:
            raise PlaceError(LATE)
        self.child.terminate()

    def end(self, *_: "int | FrameType | None") -> None:
        self.interrupted = True
        if self.child is None:
            sys.exit(INTERRUPTED)
        self.child.terminate()

    def do(self, here: Job) -> None:
        """To the sealed artifact, or PlaceError with the work's own last word."""
        paper = partial(Path(here.output)).with_suffix(".job.json")
        paper.parent.mkdir(parents=True, exist_ok=True)
        paper.write_text(here.to_json(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "backends.work", str(paper)]
        told = {**os.environ, **self.told, "LLMSPEC_PARENT": "stdin", "PYTHONUNBUFFERED": "1"}
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=told,
            text=True,
            errors="replace",
            start_new_session=True,  # it ends its whole group when we are gone, which its stdin tells it
        )
        with self.child:
            if self.interrupted or self.late:  # the signal came while it was being born
                self.child.terminate()
            last = pass_on(self.child, here)
            code = self.child.wait()
        paper.unlink()
        if self.late and code:
            raise PlaceError(LATE)
        if self.interrupted and code:
            sys.exit(INTERRUPTED)
        if code:
            raise (DamagedError if code == DAMAGED_CODE else PlaceError)(last or ended_by(code))


def pass_on(child: "subprocess.Popen[str]", job: Job) -> str:
    """What it says goes on to the log, without the values of its secrets. Returns what it said of its failure."""
    assert child.stdout
    hidden = [os.environ[name] for name in secrets.names_in([job.options]) if os.environ.get(name)]
    why: list[str] = []
    for line in child.stdout:
        for value in hidden:
            line = line.replace(value, "***")
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith(FAILED):
            why = [line.removeprefix(FAILED)]
        elif why:
            why.append(line)
    return "".join(why).strip()


def ended_by(code: int) -> str:
    if code < 0:
        return f"its process was ended by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return f"its process ended with code {code}"


def place(made: Artifact, job: Job, output: str) -> None:
    """Put the artifact where it belongs, files first, manifest last: into the store, or where the platform takes it from."""
    manifest = replace(made.verify().manifest, sources=job.files)  # as they are called where the spec is
    if output.startswith(S3):
        copies.send(replace(made, manifest=manifest), shelf_at(output, root()))
        return
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.folder / name, folder / name)
    write_atomically(folder / MANIFEST, manifest.to_json())


def carry_out(layout: Layout, work: Work) -> None:
    """The job, from its paper to its artifact. One that was made before an interruption is only put in its place."""
    if faults := list(container.unknown(os.environ, container.WORK)):
        raise PlaceError("\n".join(faults))
    job = layout.job()
    kept = layout.kept(job)
    if layout.done(job):
        print(f"{job.stage}: is in {layout.output} already", flush=True)
    else:
        made = made_at(layout, job, work)
        place(made, job, layout.output)
        shutil.rmtree(made.folder)
        print(f"{job.stage}: put into {layout.output}", flush=True)
    if kept:
        kept.clear()


def made_at(layout: Layout, job: Job, work: Work) -> Artifact:
    """The artifact on this machine: found, or made from checked inputs and the last checkpoint."""
    here = layout.located(job)
    made = open_artifact(Path(here.output))
    if made is not None and made.whole():
        return made
    layout.fetch(job)
    layout.check(here)
    print(f"{job.stage} of {job.spec}: {job.engine}, key {job.key}", flush=True)
    if kept := layout.kept(job):
        kept.restore()
    work.told = layout.told
    with kept.watching() if kept else nullcontext():
        work.do(here)
    made = open_artifact(Path(here.output))
    assert made, "the door seals before it ends well"
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backends.work.container", description=__doc__)
    commands = "what `docker run IMAGE train` says, whatever the job's stage is; spark, when a Spark application started us"
    parser.add_argument("command", choices=[TRAIN, SPARK], help=commands)
    spread = parser.parse_args().command == SPARK
    layout, work = Layout.of(os.environ, spread=spread), Work()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, work.end)
    signal.signal(signal.SIGALRM, work.end_late)
    try:
        signal.setitimer(signal.ITIMER_REAL, layout.most_seconds)
        carry_out(layout, work)
    except Exception as error:  # noqa: BLE001 - the door: whatever it was is told where the platform looks
        known = isinstance(error, LLMSpecError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        print(f"{'' if known else traceback.format_exc()}{FAILED}{reason}", file=sys.stderr, flush=True)
        layout.tell(reason)
        return DAMAGED_CODE if isinstance(error, DamagedError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
