"""The door for a job in a container, in folders laid out as SageMaker lays them."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Project, tiny_rows
from container_parts import lay_out, worked, working
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, PipesContextData, encode_param
from serving_parts import eventually
from training_parts import Silent, content_of, make_features, write_base, write_data

from backends.work.checkpoint import is_whole
from backends.work.report import Report
from backends.work.train_hf import train
from llmspec import container
from llmspec.errors import DAMAGED_CODE
from llmspec.job import Input, Job, digest_of
from llmspec.shelf import MANIFEST, File, files_in, sha256_of
from llmspec.stage import Product
from llmspec.store import Manifest, content_digest, open_artifact

TRAINING = {"epochs": 30, "learning_rate": 1e-2, "batch_tokens": 64, "checkpoint_every": "1ms"}
ASKED: dict[str, Any] = {"base": {"path": "base"}, "method": "lora", "adapter": {"rank": 4, "dropout": 0.2}, "training": TRAINING}
TWO_SOURCES = "  sources:\n    - {name: b, path: 'rows*.jsonl'}\n    - {name: a, path: more.jsonl}\n"


def folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of({path.relative_to(folder).as_posix(): sha256_of(path) for path in files})


def training_job(folder: Path) -> Job:
    """A LoRA over a micro base: small, and long enough to be interrupted."""
    base = write_base(folder / "base", layers=2)
    make_features(folder / "features", write_data(folder / "data"), base)
    inputs = {name: Input(str(folder / name), folder_digest(folder / name)) for name in ("base", "features")}
    options = {"model": ASKED}
    return Job("test", "model", "train_hf", 1, "backends.work.train_hf:train", options, options, inputs, output="/elsewhere/model")


def trained_here(job: Job, folder: Path) -> str:
    """The digest of what the work leaves, in this process."""
    train(dict(job.options), {name: Path(item.uri) for name, item in job.inputs.items()}, folder, Report(Silent()))
    return content_of(folder)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return training_job(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def calm(training: Job, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the same training that nobody interrupted, on this machine and in no container."""
    return trained_here(training, tmp_path_factory.mktemp("calm"))


def data_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Two sources, one of several files, whose names sort in another order than they are mentioned."""
    folder.mkdir()
    text = TINY.replace("  sources:\n    - path: rows.jsonl\n", TWO_SOURCES)
    assert text != TINY
    Project(folder).write(text)
    (folder / "rows-2.jsonl").write_text(tiny_rows(7).replace("shelf", "board"))
    (folder / "more.jsonl").write_text(tiny_rows(5).replace("shelf", "rack"))
    monkeypatch.setenv("LLMSPEC_HOME", str(folder / ".llmspec"))
    return Product.open(folder / "tiny.yaml").stage("data").job


def test_a_data_job_gives_the_same_bytes_as_on_the_machine_of_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = data_job(tmp_path / "shop", monkeypatch)
    opt_ml = lay_out(tmp_path / "ml", job)
    code, said = worked(opt_ml)
    assert code == 0, said
    made = open_artifact(opt_ml / "model")
    assert made
    manifest = made.verify().manifest
    Project(tmp_path / "shop").run("apply", "tiny.yaml", "--select", "data", "--yes")
    here = open_artifact(Path(job.output))
    assert here
    assert (manifest.key, manifest.digest) == (job.key, here.manifest.digest)
    assert manifest.sources == here.manifest.sources, "as the files are called where the spec is"
    assert not (opt_ml / "output").exists(), "nothing failed"
    assert not list((opt_ml / "checkpoints").iterdir()), "nothing is kept twice"


def interrupted(opt_ml: Path, job: Job, with_signal: int, **more: str) -> tuple[int, str]:
    """Started, and asked to end once some steps are done."""
    process = working(opt_ml, **more)
    kept = opt_ml / "checkpoints" / f"{job.key}.partial" / "checkpoint" / "last.pt"
    seen: set[int] = set()
    until = time.monotonic() + 90
    while len(seen) < 5:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "no checkpoint came"
        if kept.exists():
            seen.add(kept.stat().st_mtime_ns)
        time.sleep(0.002)
    process.send_signal(with_signal)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said


def test_an_interrupted_training_keeps_its_work_and_a_second_start_ends_with_the_same_weights(
    tmp_path: Path, training: Job, calm: str
) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    code, said = interrupted(opt_ml, training, signal.SIGTERM)
    assert (code, "is kept" in said) == (143, True)
    assert not (opt_ml / "output" / "failure").exists(), "an interruption is no failure"
    assert not (opt_ml / "model").exists()
    # Another machine: SageMaker brings back the checkpoints, and nothing else.
    again = lay_out(tmp_path / "again", training)
    shutil.copytree(opt_ml / "checkpoints", again / "checkpoints")
    code, said = worked(again)
    assert (code, "going on from the checkpoint at step" in said) == (0, True), said
    made = open_artifact(again / "model")
    assert made
    assert made.verify().manifest.digest == calm


def test_a_killed_container_takes_its_work_with_it_and_keeps_its_checkpoint(tmp_path: Path, training: Job) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    code, _ = interrupted(opt_ml, training, signal.SIGKILL)  # returns once nobody holds its stdout: the child is gone too
    assert code == -signal.SIGKILL
    assert is_whole(opt_ml / "checkpoints" / f"{training.key}.partial" / "checkpoint" / "last.pt")


def test_an_artifact_that_was_whole_before_an_interruption_is_only_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = data_job(tmp_path / "shop", monkeypatch)
    opt_ml = lay_out(tmp_path / "ml", job)
    assert worked(opt_ml)[0] == 0
    (opt_ml / "model").rename(opt_ml / "checkpoints" / job.key)
    shutil.rmtree(opt_ml / "input" / "data" / container.SOURCES)
    code, said = worked(opt_ml, **{container.OUTPUT: str(tmp_path / "out")})
    assert code == 0, said
    assert "steps" not in said, "no work was done again"
    found = open_artifact(tmp_path / "out")
    assert found
    assert found.verify().manifest.key == job.key


def told(opt_ml: Path) -> str:
    reason = (opt_ml / "output" / "failure").read_text(encoding="utf-8")
    assert (opt_ml / "output" / "message").read_text(encoding="utf-8") == reason
    return reason


def test_a_failing_job_says_why_where_sagemaker_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = data_job(tmp_path / "shop", monkeypatch)
    wrong = job.options["data"] | {"template": "no_such_template"}
    opt_ml = lay_out(tmp_path / "ml", replace(job, options=job.options | {"data": wrong}))
    code, said = worked(opt_ml)
    assert code == 1
    assert "no_such_template" in told(opt_ml)
    assert "Traceback" in said
    assert "Traceback" not in told(opt_ml)
    assert not (opt_ml / "model").exists()


def test_work_that_is_killed_for_its_memory_is_a_failure_with_a_reason(tmp_path: Path, training: Job) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    process = working(opt_ml)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (born := children.read_text().split()):
        time.sleep(0.01)
    os.kill(int(born[0]), signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert told(opt_ml) == "its process was ended by signal 9 (out of memory?)"


def test_a_secret_of_the_job_is_in_no_log_and_in_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = data_job(tmp_path / "shop", monkeypatch)
    leaky = job.options | {"data": job.options["data"] | {"template": "${secret.MODEL_TOKEN}"}}
    opt_ml = lay_out(tmp_path / "ml", replace(job, options=leaky, secrets=(("data", "template"),)))
    code, said = worked(opt_ml, MODEL_TOKEN="hunter2-hunter2")
    assert code == 1
    assert "hunter2" not in said + told(opt_ml)
    assert "***" in told(opt_ml)


def changed(opt_ml: Path, what: str) -> None:
    data = opt_ml / "input" / "data"
    match what:
        case "no job":
            (data / "job" / "job.json").unlink()
        case "torn job":
            (data / "job" / "job.json").write_text("{")
        case "monitors":
            paper = data / "job" / "job.json"
            paper.write_text(json.dumps(json.loads(paper.read_text()) | {"stage": "monitors"}))
        case "no channel":
            shutil.rmtree(data / "features")
        case "flipped byte":
            weights = data / "base" / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"!")
        case "two machines":
            (opt_ml / "input" / "config").mkdir()
            (opt_ml / "input" / "config" / "resourceconfig.json").write_text('{"hosts": ["algo-1", "algo-2"]}')


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("no job", "job.json (No such file or directory): give it as the channel `job`, or name its file in LLMSPEC_JOB"),
        ("torn job", "job.json holds no job"),
        ("monitors", "monitors is no job for a container"),
        ("no channel", "input 'features': there is no channel"),
        ("flipped byte", "input 'base': "),
        ("two machines", "2 machines were asked for, and one does this job"),
    ],
)
def test_what_is_laid_out_wrongly_is_named_before_anything_is_computed(
    tmp_path: Path, training: Job, what: str, reason: str
) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    changed(opt_ml, what)
    code, _ = worked(opt_ml)
    assert code == 1
    assert reason in told(opt_ml)
    assert not (opt_ml / "checkpoints").exists()


def test_files_that_are_not_those_of_the_plan_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = data_job(tmp_path / "shop", monkeypatch)
    opt_ml = lay_out(tmp_path / "ml", job)
    first, second, *_ = sorted((opt_ml / "input" / "data" / container.SOURCES).rglob("*.jsonl"))
    first.unlink()
    second.write_text("{}")
    assert worked(opt_ml)[0] == 1
    assert f"{first} is missing" in told(opt_ml)
    assert f"{second} is not the file that the job was planned with" in told(opt_ml)


def test_a_misspelt_variable_is_refused(tmp_path: Path, training: Job) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    assert worked(opt_ml, LLMSPEC_OUTPUTS="/elsewhere")[0] == 1
    assert told(opt_ml) == "LLMSPEC_OUTPUTS means nothing here: did you mean LLMSPEC_OUTPUT?"


def is_read(fifo: Path) -> bool:
    """Whether somebody has begun to read it. The end that we opened stays open, so that they wait for more."""
    try:
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    return True


def test_asked_to_end_before_it_began_it_ends_as_interrupted(tmp_path: Path, training: Job) -> None:
    opt_ml = lay_out(tmp_path / "ml", training)
    (paper := opt_ml / "input" / "data" / "job" / "job.json").unlink()
    os.mkfifo(paper)  # it waits for its job
    process = working(opt_ml)
    eventually(lambda: is_read(paper))
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143
    assert not (opt_ml / "output").exists()


def test_a_processing_jobs_reason_lies_where_sagemaker_looks_and_damage_has_an_exit_code_of_its_own(
    tmp_path: Path, training: Job
) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(training.inputs["features"].uri, folder)
    files = {name: File(sha256_of(folder / name), (folder / name).stat().st_size) for name in files_in(folder)}
    manifest = Manifest("test", "features", "k", content_digest(files), "tokenize_hf", 1, {}, {}, {}, files, {})
    (folder / MANIFEST).write_text(manifest.to_json())
    job = replace(training, inputs=training.inputs | {"features": Input(str(folder), manifest.digest)})
    inside = lay_out(tmp_path / "ml" / "processing", job)
    name = max(files, key=lambda name: files[name].bytes)
    (inside / "input" / "data" / "features" / name).write_bytes(b"?" * files[name].bytes)
    code, _ = worked(inside, **{container.REASON: str(tmp_path / "ml" / "output")})
    assert code == DAMAGED_CODE
    assert f"{name}: not as its manifest says" in (tmp_path / "ml" / "output" / "message").read_text(encoding="utf-8")
    assert not (inside / "output").exists()


def test_the_log_carries_what_dagster_shows_when_the_job_brings_the_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opt_ml = lay_out(tmp_path / "ml", data_job(tmp_path / "shop", monkeypatch))
    context = dict.fromkeys(PipesContextData.__annotations__) | {"run_id": "r", "retry_number": 0, "extras": {}}
    told = {DAGSTER_PIPES_CONTEXT_ENV_VAR: {"data": context}, DAGSTER_PIPES_MESSAGES_ENV_VAR: {"stdio": "stdout"}}
    paper = opt_ml / "input" / "data" / "job" / container.PIPES
    paper.write_text(json.dumps({name: encode_param(value) for name, value in told.items()} | {"PATH": "/nowhere"}))
    code, said = worked(opt_ml)
    assert code == 0, said
    messages = [json.loads(line) for line in said.splitlines() if line.startswith('{"__dagster_pipes_version"')]
    assert messages[0]["method"] == "opened"
    assert messages[-1]["method"] == "closed"
    assert any("progress" in (message["params"] or {}).get("payload", {}) for message in messages)
