"""Every failure is survivable: whatever dies, applying again gives the same result, and nothing is left running."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import TINY, Project

STAGES = ("data", "features", "model", "onnx", "evaluation")
MADE = ("--select", "+evaluation")
"""All that is made and kept: no endpoint."""


def processes(project: Project, doing: str = "", name: str = "") -> list[psutil.Process]:
    """Every process that works for this project, by its working directory; one that is just ending is no more."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if (
                process.cwd() == str(project.folder)
                and ("backends" in words or "llmspec" in words)
                and doing in words
                and name in process.name()
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def workers(project: Project) -> list[psutil.Process]:
    """Those that do a stage's work or wait for some."""
    return processes(project, "backends.work")


def at_work(project: Project, stage: str) -> list[psutil.Process]:
    """The process of a stage's job: its name says so, once it has begun."""
    return processes(project, "backends.work", f"llmspec {stage}"[:15])


def eventually(what: str, seconds: float = 30) -> Iterator[None]:
    """Try again until the loop is left; a generous end, so that a slow machine is no failure."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {seconds} s")


def applying(project: Project, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        project.command("apply", "tiny.yaml", "--yes", *words),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def until(process: "subprocess.Popen[str]", words: str) -> str:
    """Read what it says up to these words."""
    said = ""
    assert process.stdout
    for line in process.stdout:
        said += line
        if words in line:
            return said
    pytest.fail(f"never said {words!r}:\n{said}")


@pytest.mark.timeout(600)
def test_the_work_and_then_the_command_killed_in_each_stage_end_with_the_same_digests_and_no_orphan(
    project: Project, applied_once: Project
) -> None:
    dice = random.Random(7)
    for stage in STAGES:
        kill_the_work(project, stage)
        kill_the_command(project, stage, after=dice.random())
    project.run("apply", "tiny.yaml", "--yes", *MADE)
    assert set(project.digests()) == set(STAGES)
    assert project.digests() == applied_once.digests()
    assert not workers(project)
    assert statuses(project) == {"FAILURE", "SUCCESS"}, "no run of Dagster's says that it is still running"


def kill_the_work(project: Project, stage: str) -> None:
    """The stage fails, and the command says by what."""
    command = applying(project, "--select", f"+{stage}")
    until(command, f"… {stage}")
    for _ in eventually("a work process"):
        if found := at_work(project, stage):
            found[0].kill()
            break
    said = command.communicate(timeout=120)[0]
    assert command.returncode == 1
    assert f"✗ {stage}" in said
    assert "signal 9" in said


def kill_the_command(project: Project, stage: str, after: float) -> None:
    command = applying(project, "--select", f"+{stage}")
    until(command, f"… {stage}")
    time.sleep(after)
    command.kill()
    command.wait()
    for _ in eventually("the work process ends with its parent"):
        if not workers(project):
            break


def statuses(project: Project) -> set[str]:
    """What Dagster says of the runs."""
    code = (
        "import dagster as dg; from llmspec.apply import dagster_home; dagster_home(); "
        "print(*{run.status.value for run in dg.DagsterInstance.get().get_runs()})"
    )
    command = [sys.executable, "-P", "-c", code]
    asked = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=True)
    return set(asked.stdout.split())


def test_a_killed_endpoint_comes_back_by_itself_and_a_killed_supervisor_with_the_next_apply(applied: Project) -> None:
    applied.run("apply", "tiny.yaml", "--yes")
    state = json.loads(next((applied.folder / ".llmspec" / "run").glob("*/state.json")).read_text())
    os.kill(state["worker"], signal.SIGKILL)
    for _ in eventually("the supervisor starts another worker", 60):
        status = json.loads(applied.run("status", "tiny.yaml", "-o", "json", check=False).stdout)
        if status["state"] == "live":
            break
    before = processes(applied)
    os.kill(state["pid"], signal.SIGKILL)
    for _ in eventually("the worker ends with its supervisor"):
        if not processes(applied):
            break
    assert before
    assert applied.actions()["endpoint"] == "restart"
    assert "Release 1 is live" in applied.run("apply", "tiny.yaml", "--yes").stdout
    assert applied.actions()["endpoint"] == "reuse"


@pytest.mark.parametrize(
    ("damage", "stage", "file", "below"),
    [("truncated", "data", "train.parquet", "features"), ("flipped", "model", "model.safetensors", "onnx")],
)
def test_a_damaged_artifact_is_found_before_use_and_rebuilt(
    applied: Project, applied_once: Project, damage: str, stage: str, file: str, below: str
) -> None:
    applied.forget(below, "endpoint")
    found = next((applied.store / "tiny" / stage).glob(f"*/{file}"))
    content = bytearray(found.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    found.write_bytes(content)
    applied.run("apply", "tiny.yaml", "--yes", "--select", f"+{below}")
    assert applied.digests() == applied_once.digests()


def disk(project: Project, options: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command with its store on a small disk of its own, seen by nobody else."""
    store = project.folder / "disk"
    store.mkdir(exist_ok=True)
    shell = f'mount -t tmpfs -o {options} none "{store}" && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh", *project.command(*words)]
    return subprocess.run(mounted, cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=240)


@pytest.fixture
def can_mount() -> None:
    probe = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk to fill")


def test_a_full_disk_is_said_in_a_line_and_loses_nothing(project: Project, can_mount: None) -> None:
    project.write(TINY + "store: disk\n")
    said = disk(project, "size=48k", "apply", "tiny.yaml", "--yes", "--select", "+features")
    assert said.returncode == 1
    assert "✗ features" in said.stdout
    assert "No space left" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    project.run("apply", "tiny.yaml", "--yes", "--select", "data")


def test_a_read_only_store_is_refused_before_anything_runs(project: Project, can_mount: None) -> None:
    project.write(TINY + "store: disk\n")
    said = disk(project, "ro", "apply", "tiny.yaml", "--yes")
    assert said.returncode == 1
    assert "Read-only file system" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert "… data" not in said.stdout


def test_of_two_applies_the_second_says_who_holds_the_lock_or_waits(project: Project) -> None:
    first = applying(project, "--select", "data")
    until(first, "… data")
    second = project.run("apply", "tiny.yaml", "--yes", "--select", "data", "--no-wait", check=False)
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr
    first.send_signal(signal.SIGSTOP)  # it holds the lock for as long as we like
    third = applying(project, "--select", "data")
    until(third, "Waiting")
    first.send_signal(signal.SIGCONT)
    until(third, "Nothing to change")
    assert (first.wait(timeout=60), third.wait(timeout=60)) == (0, 0)


def test_a_dead_holder_s_lock_is_taken_over(project: Project) -> None:
    first = applying(project, "--select", "data")
    until(first, "… data")
    first.kill()
    first.wait()
    assert "✓ data" in project.run("apply", "tiny.yaml", "--yes", "--select", "data", "--no-wait").stdout


def test_ctrl_c_ends_the_child_soon_and_the_next_apply_goes_on(applied: Project, applied_once: Project) -> None:
    project = applied.forget("model", "endpoint").edit("epochs: 1,", "epochs: 400,")
    command = applying(project, *MADE)
    until(command, "… model")
    for _ in eventually("a work process"):
        if at_work(project, "model"):
            break
    asked = time.monotonic()
    command.send_signal(signal.SIGINT)
    for _ in eventually("the child ends"):
        if not workers(project):
            break
    assert time.monotonic() - asked < 10, "5 s are promised; the rest is room for a busy machine"
    said = command.communicate(timeout=60)[0]
    assert command.returncode == 130
    assert "Apply again to continue" in said
    assert "Traceback" not in said
    project.edit("epochs: 400,", "epochs: 1,")
    project.run("apply", "tiny.yaml", "--yes", "--select", "model")
    assert project.digests() == applied_once.digests()


def test_a_port_that_is_taken_is_named_with_the_cure(applied: Project) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        applied.edit("  port: 0\n", f"  port: {port}\n")
        said = applied.run("apply", "tiny.yaml", "--yes", check=False)
    assert said.returncode == 1
    assert str(port) in said.stdout + said.stderr
    assert "endpoint.port" in said.stdout + said.stderr


def test_nothing_outside_the_project_s_folder_is_written(applied_once: Project) -> None:
    assert {path.name for path in Path(applied_once.folder).iterdir()} == {"tiny.yaml", "rows.jsonl", ".llmspec"}
