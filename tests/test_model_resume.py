"""model: a killed run goes on where it was, and ends with the weights of one that was never killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_parts import Silent, content_of, job, make_features, make_model, open_door, through_the_door, write_base, write_data

from backends.work import checkpoint, train_hf
from llmspec.job import Job
from llmspec.shelf import partial, sha256_of

# Dropout draws random numbers, so that resuming them is tested too.
ASKED: dict[str, Any] = {
    "method": "lora",
    "adapter": {"rank": 4, "dropout": 0.2},
    "training": {"epochs": 40, "learning_rate": 1e-2, "batch_tokens": 64, "checkpoint_every": "1ms"},
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    base = write_base(folder / "base", layers=2)
    make_features(folder / "features", write_data(folder / "data"), base)
    return {"features": folder / "features", "base": base}


@pytest.fixture(scope="module")
def uninterrupted(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run in this process that nobody disturbed, and that made no checkpoint."""
    calm = ASKED | {"training": ASKED["training"] | {"checkpoint_every": "5m"}}
    folder = tmp_path_factory.mktemp("calm")
    make_model(folder, parts["features"], parts["base"], **calm)
    return content_of(folder)


def long_run(parts: dict[str, Path], output: Path, **change: Any) -> Job:
    return job("model", {"model": {"base": {"path": "base"}} | ASKED | change}, parts, output)


def short_run(parts: dict[str, Path], output: Path, channel: Silent | None = None) -> str:
    """Eight steps in this process. The digest of its weights."""
    few = ASKED | {"training": ASKED["training"] | {"epochs": 2.5, "checkpoint_every": "5m"}}
    make_model(output, parts["features"], parts["base"], channel=channel, **few)
    return sha256_of(output / "model.safetensors")


@pytest.fixture(scope="module")
def short(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights of a short run that nobody disturbed."""
    return short_run(parts, tmp_path_factory.mktemp("short"))


def wait_for_checkpoint(asked: Job, process: "subprocess.Popen[str]") -> None:
    """Until some steps are done: the first checkpoint is there and was replaced since."""
    path = partial(Path(asked.output)) / "checkpoint" / "last.pt"
    seen: set[int] = set()
    until = time.monotonic() + 90
    while len(seen) < 5:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "no checkpoint came"
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.002)


def test_a_run_asked_to_end_does_so_within_five_seconds_and_killed_after_that_it_ends_with_the_same_bytes(
    tmp_path: Path, parts: dict[str, Path], uninterrupted: str
) -> None:
    asked = long_run(parts, tmp_path / "model")
    process = open_door(asked)
    wait_for_checkpoint(asked, process)
    asked_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - asked_at < 5
    assert process.returncode == 143
    assert "is kept" in said
    process = open_door(asked)
    wait_for_checkpoint(asked, process)
    process.kill()
    assert "going on from the checkpoint at step" in process.communicate()[1]
    assert not (tmp_path / "model").exists()
    manifest, said = through_the_door(asked)
    assert "going on from the checkpoint at step" in said
    assert manifest["digest"] == uninterrupted
    assert not any("checkpoint" in name for name in manifest["files"])


def test_a_run_killed_while_its_files_are_hashed_does_not_train_again(
    tmp_path: Path, parts: dict[str, Path], uninterrupted: str
) -> None:
    asked = long_run(parts, tmp_path / "model")
    paper = tmp_path / "model.job.json"
    paper.write_text(asked.to_json(), encoding="utf-8")
    killed = "import os; from backends.work import door; door.sha256_of = lambda _: os._exit(9); door.main()"
    assert subprocess.run([sys.executable, "-c", killed, str(paper)], check=False).returncode == 9
    manifest, said = through_the_door(asked)
    assert "going on from the checkpoint at step" in said
    assert manifest["digest"] == uninterrupted
    assert not (tmp_path / "model" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (train_hf, "mean_loss", 0),
        (train_hf, "mean_loss", 3),
        (train_hf, "summed_loss", 3),
        (train_hf, "summed_loss", 9),
        (checkpoint.Whole, "__exit__", 0),
        (checkpoint.Whole, "__exit__", 4),
    ],
    ids=str,
)
def test_whatever_moment_a_signal_comes_at_the_weights_are_the_same(
    tmp_path: Path, parts: dict[str, Path], short: str, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    real, calls = getattr(owner, name), []

    def interrupted(*given: Any) -> Any:
        calls.append(name)
        if len(calls) == call + 1:
            signal.raise_signal(signal.SIGINT)
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            short_run(parts, tmp_path / "m")
    channel = Silent()
    assert short_run(parts, tmp_path / "m", channel) == short
    assert "going on from the checkpoint" in channel.lines[0]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    tmp_path: Path, parts: dict[str, Path], short: str, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_hf, "summed_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            short_run(parts, tmp_path / "m")
    path = tmp_path / "m" / "checkpoint" / "last.pt"
    kept = bytearray(path.read_bytes())
    kept[len(kept) // 2] ^= 255
    path.write_bytes(kept[: len(kept) // 2] if damage == "cut" else kept)
    assert short_run(parts, tmp_path / "m") == short


def test_a_checkpoint_that_breaks_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, {"step": 1})

    def full_disk(state: Any, file: Any) -> None:
        file.write(b"begun")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, {"step": 2})
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_a_signal_inside_waits_for_the_end_of_what_must_be_whole() -> None:
    done = []

    def step() -> None:
        with checkpoint.Whole():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["the rest"]


def test_nothing_of_a_killed_run_but_its_checkpoint_is_used(tmp_path: Path, parts: dict[str, Path]) -> None:
    (tmp_path / "m" / "adapter").mkdir(parents=True)
    (tmp_path / "m" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "m" / "adapter" / "old.bin").write_bytes(b"old")
    short_run(parts, tmp_path / "m")
    assert not (tmp_path / "m" / "adapter" / "old.bin").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "llama"
