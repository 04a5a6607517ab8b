"""Jobs that need the same tools: forked off one process that has loaded them, and still each in a process of its own."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from backends.places import local_work
from backends.places.local_work import Child, Forked, loading, start
from llmspec.card import Engine
from llmspec.errors import FAILED
from llmspec.job import Job
from llmspec.store import open_artifact

pytestmark = pytest.mark.skipif(not local_work.forks(), reason="with a GPU, or without Linux, nothing is forked")
TOOL = """\
import os, time
from pathlib import Path

with Path(os.environ["LOADED"]).open("a") as file:
    file.write("loaded\\n")
counted = 0
def work(options, inputs, output, report):
    global counted
    counted += 1
    print("says", os.environ["ASKED"], flush=True)
    if "fails" in options:
        raise ValueError(options["fails"])
    time.sleep(options.get("sleeps", 0))
    (output / "made.txt").write_text(options["text"])
    return {"counted": counted, "parent": os.getppid(), "session": os.getsid(0), "pid": os.getpid()}
"""


class Slow(Engine):
    stage: ClassVar[str] = "model"
    work: ClassVar[str] = "slow_tool:work"
    tools: ClassVar[tuple[str, ...]] = ("slow_tool",)


@pytest.fixture(autouse=True)
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tool that says when it is loaded."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "slow_tool.py").write_text(TOOL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "tools"), prepend=os.pathsep)
    monkeypatch.setenv("LOADED", str(tmp_path / "loaded.txt"))
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    return tmp_path / "tools" / "slow_tool.py"


def asked(folder: Path, name: str, **options: Any) -> tuple[Child, Job]:
    job = Job("tiny", "model", "slow", 1, Slow.work, {"text": name} | options, {"name": name}, {}, output=str(folder / name))
    order = folder / f"{name}.job.json"
    order.write_text(job.to_json())
    return start(order, {"ASKED": name}, job.work), job


def said(child: Child) -> str:
    """All of it, and how it ended is known."""
    assert child.stdout
    text = child.stdout.read().decode()
    child.wait(60)
    return text


def metrics(job: Job) -> dict[str, Any]:
    made = open_artifact(Path(job.output))
    assert made
    return dict(made.verify().manifest.metrics)


@pytest.fixture
def ahead() -> Iterator[psutil.Process]:
    """The process that has the tools."""
    before = set(psutil.Process().children())
    with loading([Slow()]):
        (process,) = set(psutil.Process().children()) - before
        yield process
    assert not process.is_running()


def test_two_jobs_load_the_tools_once_and_share_nothing_else(tmp_path: Path, ahead: psutil.Process) -> None:
    found = []
    for name in ("one", "two"):
        child, job = asked(tmp_path, name)
        assert isinstance(child, Forked)
        assert f"says {name}" in said(child), "an environment and an output of its own"
        assert child.returncode == 0
        found.append(metrics(job))
    assert (tmp_path / "loaded.txt").read_text() == "loaded\n"
    assert [one["counted"] for one in found] == [1, 1], "what the first left in memory, the second does not see"
    assert all(one["parent"] == ahead.pid and one["session"] == one["pid"] for one in found)
    assert found[0]["pid"] != found[1]["pid"]


@contextmanager
def may_open(files: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_with_a_thousand_files_open_still_hears_its_jobs(tmp_path: Path) -> None:
    with may_open(4096), ExitStack() as opened:
        for _ in range(1024):
            opened.enter_context(Path(os.devnull).open())
        with loading([Slow()]):
            child, _ = asked(tmp_path, "one")
            assert isinstance(child, Forked)
            assert "says one" in said(child)


def test_a_job_of_another_work_and_one_outside_of_the_block_have_processes_of_their_own(tmp_path: Path) -> None:
    with loading([Engine()]):
        child, _ = asked(tmp_path, "no tools")
        assert isinstance(child, subprocess.Popen)
        said(child)
    child, job = asked(tmp_path, "after")
    assert isinstance(child, subprocess.Popen)
    said(child)
    assert metrics(job)["parent"] == os.getpid()


def test_where_there_is_a_gpu_nothing_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_work, "ACCELERATORS", (str(tmp_path),))
    with loading([Slow()]):
        child, _ = asked(tmp_path, "gpu")
        assert isinstance(child, subprocess.Popen)
        said(child)


def test_a_job_that_fails_says_why_and_the_next_is_well(tmp_path: Path, ahead: psutil.Process) -> None:
    child, _ = asked(tmp_path, "bad", fails="no such thing")
    assert f"{FAILED}ValueError: no such thing" in said(child)
    assert child.returncode == 1
    child, job = asked(tmp_path, "good")
    said(child)
    assert metrics(job)["counted"] == 1


def test_a_tool_that_cannot_be_loaded_is_told_by_the_job(tmp_path: Path, tool: Path) -> None:
    tool.write_text("raise ImportError('half of it is missing')")
    with loading([Slow()]):
        child, _ = asked(tmp_path, "one")
        assert f"{FAILED}ImportError: half of it is missing" in said(child)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_job_that_is_ended_says_by_what(tmp_path: Path, ahead: psutil.Process, number: int, code: int) -> None:
    child, _ = asked(tmp_path, "one", sleeps=60)
    assert child.stdout
    child.stdout.readline()
    assert child.poll() is None
    child.terminate() if number == signal.SIGTERM else child.kill()
    assert child.wait(60) == code
    child, job = asked(tmp_path, "two")
    said(child)
    assert metrics(job)["parent"] == ahead.pid


def test_when_the_one_with_the_tools_is_killed_the_job_ends_and_the_next_loads_them_itself(
    tmp_path: Path, ahead: psutil.Process
) -> None:
    child, _ = asked(tmp_path, "one", sleeps=60)
    assert child.stdout
    child.stdout.readline()
    ahead.kill()
    assert child.wait(60) == -9
    child, job = asked(tmp_path, "two")
    assert isinstance(child, subprocess.Popen)
    said(child)
    assert metrics(job)["parent"] == os.getpid()


def test_when_the_asker_is_killed_nothing_is_left(tmp_path: Path) -> None:
    asker = (
        "import os, sys; sys.path.insert(0, os.environ['TESTS']); from pathlib import Path\n"
        "from test_local_work import Slow, asked, loading\n"
        "with loading([Slow()]):\n"
        "    child, _ = asked(Path(sys.argv[1]), 'one', sleeps=60)\n"
        "    child.stdout.readline(); print(child.pid, flush=True); child.wait()\n"
    )
    env = os.environ | {"TESTS": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", asker, str(tmp_path)], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout
        job = psutil.Process(int(process.stdout.readline()))
        left = [job, job.parent()]
        process.kill()
    gone, alive = psutil.wait_procs([one for one in left if one], timeout=30)
    assert len(gone) == 2
    assert not alive


def test_the_name_of_a_job_s_process_says_what_it_does(tmp_path: Path, ahead: psutil.Process) -> None:
    child, _ = asked(tmp_path, "one", sleeps=60)
    assert child.stdout
    child.stdout.readline()
    assert psutil.Process(child.pid).name() == "llmspec model"
    child.kill()
    child.wait()
