"""The door for a job in the cloud: `python -m backends.work.container train`, started by SageMaker, ECS or EMR.

It finds the job and its inputs in their folders, checks every byte, opens the work door in a child process, and puts the artifact
into the output folder, manifest last. What grows lies in `checkpoints`, which a platform keeps: asked to end, the work saves
itself, and a second start goes on from there. Why a job failed is said where the platform looks. docs/container.md tells more.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from backends.work.layout import Layout
from llmspec import container, secrets
from llmspec.errors import DAMAGED_CODE, FAILED, DamagedError, LLMSpecError, PlaceError
from llmspec.job import Job
from llmspec.shelf import MANIFEST, partial, write_atomically
from llmspec.store import Artifact, open_artifact

INTERRUPTED = 128 + signal.SIGTERM
"""The exit code that says: not failed, and not done."""


@dataclass
class Work:
    """The child that does it; a signal to end goes to it."""

    told: Mapping[str, str] = field(default_factory=dict)
    """What it is told beyond what the container is told."""
    child: "subprocess.Popen[str] | None" = None
    interrupted: bool = False

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
            if self.interrupted:  # the signal came while it was being born
                self.child.terminate()
            last = pass_on(self.child, here)
            code = self.child.wait()
        paper.unlink()
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


def place(made: Artifact, job: Job, output: Path) -> None:
    """Put the artifact where the platform takes it from: files first, manifest last. The one place that would send it elsewhere."""
    manifest = replace(made.verify().manifest, sources=job.files)  # as they are called where the spec is
    output.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.folder / name, output / name)
    write_atomically(output / MANIFEST, manifest.to_json())


def carry_out(layout: Layout, work: Work) -> None:
    """The job, from its paper to its artifact. One that was made before an interruption is only put in its place."""
    if faults := list(container.unknown(os.environ, container.WORK)):
        raise PlaceError("\n".join(faults))
    job = layout.job()
    here = layout.located(job)
    made = open_artifact(Path(here.output))
    if made is None or not made.whole():
        layout.check(here)
        print(f"{job.stage} of {job.spec}: {job.engine}, key {job.key}", flush=True)
        work.told = {"LLMSPEC_HOME": str(layout.home), **layout.pipes()}
        work.do(here)
        made = open_artifact(Path(here.output))
        assert made, "the door seals before it ends well"
    place(made, job, layout.output)
    shutil.rmtree(made.folder)
    print(f"{job.stage}: put into {layout.output}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backends.work.container", description=__doc__)
    parser.add_argument("command", choices=["train"], help="what `docker run IMAGE train` says; whatever the job's stage is")
    parser.parse_args()
    layout, work = Layout.of(os.environ), Work()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, work.end)
    try:
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
