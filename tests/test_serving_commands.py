"""`llmspec ask`, `logs` and `stop`, as their user types them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_parts import endpoint, processes, release

ROOT = Path(__file__).parents[1]
SPEC = """\
llmspec: 1
name: bot
description: Answers.
data: {sources: [{path: rows.jsonl}]}
model: {base: {scratch: tiny}, method: full}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose endpoint is live."""
    made = tmp_path_factory.mktemp("commands")
    (made / "bot.yaml").write_text(SPEC)
    with endpoint(made / ".llmspec", release()):
        yield made


def llmspec(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LLMSPEC_HOME"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "llmspec", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_question_is_answered_on_stdout(folder: Path) -> None:
    done = llmspec(folder, "ask", "bot.yaml", "Hello there", "--max-tokens", "9")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.strip()) > 5


def test_what_the_endpoint_refuses_is_said_with_its_reason(folder: Path) -> None:
    done = llmspec(folder, "ask", "bot.yaml", "x " * 400)
    assert done.returncode == 2
    assert "the endpoint refused (400): the prompt has" in done.stderr


def test_the_log_is_printed(folder: Path) -> None:
    done = llmspec(folder, "logs", "bot.yaml")
    assert "release 1 is live" in done.stdout
    assert "endpoint.log" in done.stderr
    nothing = llmspec(folder, "logs", "bot.yaml", "model")
    assert (nothing.returncode, "model has no log here yet" in nothing.stderr) == (2, True)


@pytest.mark.timeout(60)
def test_a_log_is_followed_as_it_grows_and_turned_over(folder: Path, tmp_path: Path) -> None:
    log = folder / ".llmspec" / "logs" / "bot" / "model-1.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n")
    command = [sys.executable, "-u", "-m", "llmspec", "logs", "bot.yaml", "model", "--follow"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LLMSPEC_HOME": str(folder / ".llmspec")}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert following.stdout.readline() == "one\n"
        with log.open("a") as more:
            more.write("two\n")
        assert following.stdout.readline() == "two\n"
        log.rename(tmp_path / "turned-over")
        log.write_text("three\n")
        assert following.stdout.readline() == "three\n"
        following.kill()


def test_stop_leaves_nothing_running_and_asking_then_names_the_cure(folder: Path) -> None:
    done = llmspec(folder, "stop", "bot.yaml")
    assert done.stdout.startswith("Stopped.")
    assert processes(folder) == []
    assert llmspec(folder, "stop", "bot.yaml").stdout == "Nothing was running.\n"
    asked = llmspec(folder, "ask", "bot.yaml", "Hello?")
    assert asked.returncode == 1
    assert "bring it up with: llmspec apply bot.yaml" in asked.stderr
