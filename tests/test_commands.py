"""The commands around plan and apply, as typed."""

import json
import os
import pty
import subprocess

import pytest
from conftest import TINY, Project
from fake_collector import collecting, plain
from test_lock import held

from llmspec import store
from llmspec.cli import main


def test_destroy_lists_then_removes_the_endpoint_and_keeps_the_artifacts(applied: Project) -> None:
    applied.run("apply", "tiny.yaml", "--yes")
    said = applied.run("destroy", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "release 1" in said.stdout
    assert "--yes" in said.stderr
    assert json.loads(applied.run("status", "tiny.yaml", "-o", "json").stdout)["state"] == "live"
    assert "Destroyed." in applied.run("destroy", "tiny.yaml", "--yes").stdout
    assert json.loads(applied.run("status", "tiny.yaml", "-o", "json").stdout)["state"] == "nothing deployed"
    actions = applied.actions()
    assert {actions[stage] for stage in ("data", "features", "model", "onnx", "evaluation")} == {"reuse"}
    assert actions["endpoint"] == "deploy"


def test_destroy_with_artifacts_leaves_nothing_of_the_product(applied: Project) -> None:
    applied.run("destroy", "tiny.yaml", "--artifacts", "--yes")
    assert not (applied.store / "tiny").exists()
    assert set(applied.actions().values()) == {"run", "deploy"}
    assert "Nothing to destroy." in applied.run("destroy", "tiny.yaml", "--artifacts", "--yes").stdout


def moved(project: Project) -> Project:
    """Its spec names another store now, and nothing was copied there yet."""
    (project.folder / ".llmspec" / "stores.json").write_text(json.dumps({"tiny": [str(project.store)]}))
    return project.write(TINY + "store: elsewhere\n")


def test_what_an_earlier_store_holds_outlives_destroy_and_does_not_come_back(applied: Project) -> None:
    before = applied.digests()
    said = moved(applied).run("destroy", "tiny.yaml", "--artifacts", "--yes").stdout
    assert f"  = {applied.store / 'tiny'}  stays, and is forgotten: the spec names another store by now" in said
    assert applied.digests() == before
    assert "nothing deployed" in applied.run("status", "tiny.yaml").stdout
    assert set(applied.actions().values()) == {"run", "deploy"}


def test_destroy_with_artifacts_waits_for_who_deploys_at_another_target(
    applied: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    applied.write(TINY + "targets: {local: {}, prod: {}}\n")
    before = applied.digests()
    monkeypatch.setenv("LLMSPEC_HOME", str(applied.folder / ".llmspec"))
    monkeypatch.chdir(applied.folder)
    monkeypatch.setattr(store, "SWAP_SECONDS", 0.0)
    with held(applied.store / "tiny" / ".deployed-prod.lock"):
        assert main(["destroy", "tiny.yaml", "--artifacts", "--yes"]) == 1
    assert "tiny is being deployed by" in capsys.readouterr().err
    assert applied.digests() == before


def test_a_store_that_another_target_names_is_no_earlier_one(applied: Project) -> None:
    moved(applied).write(TINY + f"store: elsewhere\ntargets: {{local: {{}}, prod: {{store: {applied.store}}}}}\n")
    said = applied.run("destroy", "tiny.yaml", "--artifacts", "--yes").stdout
    assert "is forgotten" not in said
    assert f"  - {applied.store / 'tiny' / 'endpoint' / 'local'} " in said
    assert "nothing deployed" in applied.run("status", "tiny.yaml").stdout


def test_a_release_in_an_earlier_store_is_not_live_again_after_destroy_and_is_still_there(applied: Project) -> None:
    releases = applied.store / "tiny" / "endpoint" / "local"
    before = sorted(releases.iterdir())
    moved(applied).run("destroy", "tiny.yaml", "--yes")
    assert sorted(releases.iterdir()) == before
    assert "nothing deployed" in applied.run("status", "tiny.yaml").stdout
    assert applied.actions()["endpoint"] == "deploy"


def test_status_says_when_what_should_be_live_is_down(applied: Project) -> None:
    said = applied.run("status", "tiny.yaml", check=False)
    assert said.returncode == 1
    assert "○ down  release 1" in said.stdout


def test_apply_asks_and_takes_no_answer_for_no(project: Project) -> None:
    said = project.run("apply", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "add --yes" in said.stderr
    assert not project.store.exists() or not list(project.store.glob("tiny/*/*/manifest.json"))


@pytest.mark.parametrize("said", ["n", "\x04"], ids=["no", "end of input"])
def test_a_no_at_a_terminal_ends_with_1_and_nothing_is_run(project: Project, said: str) -> None:
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        project.command("apply", "tiny.yaml"), cwd=project.folder, env=project.environment(), stdin=theirs, stdout=subprocess.PIPE
    )
    os.write(ours, said.encode() + b"\n")
    told = asked.communicate(timeout=120)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == 1
    assert told.endswith("Nothing was run.\n")
    assert "Apply? [y/N]" in told
    assert not list(project.store.glob("tiny/*/*/manifest.json"))


def test_doctor_names_what_is_missing_with_its_cure(project: Project) -> None:
    said = project.run("doctor").stdout
    for word in ("python", "memory", "disk", "store", "sail", "local"):
        assert word in said


def test_a_command_that_does_not_exist_and_one_without_a_file_end_with_2(project: Project) -> None:
    assert project.run("aply", check=False).returncode == 2
    assert project.run("plan", check=False).returncode == 2
    (project.folder / "no-plan.json").write_text("[]")
    for wrong in (
        ("apply", "tiny.yaml", "--plan", "no-plan.json"),
        ("apply", "tiny.yaml", "--plan", "absent.json"),
        ("plan", "tiny.yaml", "tiny.yaml", "--out", "x.json"),
        ("plan", "tiny.yaml", "--select", "modl"),
        ("plan", "tiny.yaml", "--out", "no-such-folder/plan.json"),
        ("init", "tiny.yaml/below-a-file"),
        ("explain", "tiny.yaml", "modl"),
        ("explain", "model.epochs"),
    ):
        said = project.run(*wrong, check=False)
        assert said.returncode == 2, wrong
        assert "Traceback" not in said.stderr
    assert "counted from 0" in project.run("logs", "tiny.yaml", "model", "-n", "-1", check=False).stderr
    missing = project.run("plan", "tny.yaml", check=False)
    assert missing.returncode == 2
    assert "did you mean" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_what_a_command_says_to_do_next_names_the_target_and_the_selection_that_it_was_about(project: Project) -> None:
    project.write(project.spec.read_text() + "targets: {a: {default: true}, b: {}}\n")
    said = project.run("plan", "tiny.yaml", "--target", "b", "--select", "data", "--force").stdout
    assert said.endswith("Apply with: llmspec apply tiny.yaml --target b --select data --force\n")
    stale = project.run("apply", "tiny.yaml", "--target", "b", "--select", "data", "--plan", "0" * 64, check=False).stderr
    assert "plan again: llmspec plan tiny.yaml --target b --select data --out FILE" in stale
    assert "see: llmspec history tiny.yaml --target b" in project.run("rollback", "tiny.yaml", "--target", "b", check=False).stderr


def test_apply_hands_its_environment_on_to_the_endpoint(applied: Project) -> None:
    with collecting() as collector:
        applied.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        applied.run("apply", "tiny.yaml", "--yes")
        applied.run("ask", "tiny.yaml", "Where is the lamp?")
        assert plain(collector.named("chat tiny").attributes)["gen_ai.request.stream"]
        applied.run("stop", "tiny.yaml")
