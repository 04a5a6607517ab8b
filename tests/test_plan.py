"""A plan says what will happen, and why, down to the line; and what need not happen does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, Project

from llmspec.errors import StoreError
from llmspec.shelf import Folder
from llmspec.store import elders, remember_store

BUILT = ("data", "features", "model", "onnx", "evaluation")
UP_TO = ("--select", "+evaluation")


def reused(actions: dict[str, str]) -> set[str]:
    return {stage for stage, action in actions.items() if action == "reuse"}


def test_everything_runs_the_first_time(project: Project) -> None:
    assert project.actions() == {**dict.fromkeys(BUILT, "run"), "endpoint": "deploy", "monitors": "run"}
    assert project.run("plan", "tiny.yaml", "--exit-code", check=False).returncode == 3


def test_after_apply_there_is_nothing_to_change(applied_once: Project) -> None:
    assert reused(applied_once.actions()) == {*BUILT, "endpoint", "monitors"}
    assert applied_once.run("plan", "tiny.yaml", "--exit-code").returncode == 0
    assert "Nothing to change" in applied_once.run("apply", "tiny.yaml", "--yes").stdout


def test_an_edited_comment_retrains_nothing(applied: Project) -> None:
    applied.write("# a thought\n" + TINY.replace("drop_missing]", "drop_missing]  # in order"))
    assert reused(applied.actions()) >= set(BUILT)


def test_reordered_keys_retrain_nothing(applied: Project) -> None:
    head, _, rest = TINY.partition("data:\n")
    data, _, below = rest.partition("features:\n")
    applied.write(head + "features:\n" + below + "data:\n" + data)
    assert reused(applied.actions()) >= set(BUILT)


def test_a_named_place_retrains_nothing(applied: Project) -> None:
    applied.write(TINY + "places: {model: local, data: {local: {}}}\n")
    assert reused(applied.actions()) >= set(BUILT)


def test_a_new_store_is_filled_from_the_old_one_and_retrains_nothing(applied: Project) -> None:
    applied.run("apply", "tiny.yaml", "--yes")  # the copy's own store is remembered from here
    before = applied.digests()
    applied.write(TINY + "store: elsewhere\n")
    assert reused(applied.actions()) >= set(BUILT)
    said = applied.run("apply", "tiny.yaml", "--yes").stdout
    assert "model" not in [line.split()[1] for line in said.splitlines() if line.startswith("  ✓")]
    (applied.store / "tiny").rename(applied.folder / "thrown-away")
    assert reused(applied.actions()) >= set(BUILT)
    moved = Project(applied.folder)
    assert {path.parent.name for path in (applied.folder / "elsewhere" / "tiny").glob("*/*.head")} >= set(before)
    assert moved.run("plan", "tiny.yaml", "--select", "model").returncode == 0


def test_a_damaged_artifact_in_the_old_store_is_made_again_in_the_new_one(applied: Project) -> None:
    applied.run("apply", "tiny.yaml", "--yes")
    before = applied.digests()
    weights = next((applied.store / "tiny" / "onnx").glob("*/model.onnx.data"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    applied.write(TINY + "store: elsewhere\n")
    applied.run("apply", "tiny.yaml", "--yes")
    remade = next((applied.folder / "elsewhere" / "tiny" / "onnx").glob("*/manifest.json"))
    assert json.loads(remade.read_text())["digest"] == before["onnx"]


def test_two_products_that_are_applied_at_once_are_both_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    many = """
import sys
from pathlib import Path
from llmspec.shelf import Folder
from llmspec.store import remember_store
for number in range(100):
    remember_store(f"{sys.argv[1]}-{number}", Folder(Path("/somewhere")))
"""
    both = [subprocess.Popen([sys.executable, "-c", many, name]) for name in ("shop", "school")]
    assert [each.wait(120) for each in both] == [0, 0]
    assert len(json.loads((tmp_path / "home" / "stores.json").read_text())) == 200


def test_a_list_of_stores_that_is_torn_or_cannot_be_written_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    (tmp_path / "stores.json").write_text('{"tiny": ["/some')
    torn = rf"^{tmp_path}/stores\.json: cannot be read: Unterminated string[^\n]*\n  mend it, or remove it"
    with pytest.raises(StoreError, match=torn):
        elders("tiny", Folder(tmp_path / "store"))
    with pytest.raises(StoreError, match=torn):
        remember_store("tiny", Folder(tmp_path / "store"))
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "stores.json"))
    with pytest.raises(StoreError, match=r"^cannot write to .*: File exists\n  .*LLMSPEC_HOME$"):
        remember_store("tiny", Folder(tmp_path / "store"))


def test_more_epochs_rerun_the_model_and_what_is_below_with_the_line_that_says_so(applied: Project) -> None:
    applied.edit("epochs: 1,", "epochs: 2,")
    plan = applied.plan()
    actions = {step["stage"]: step["action"] for step in plan["steps"]}
    assert actions["data"] == actions["features"] == "reuse"
    assert actions["model"] == "rerun"
    assert actions["onnx"] == actions["evaluation"] == "may rerun"
    assert actions["endpoint"] == "may redeploy"
    (change,) = next(step for step in plan["steps"] if step["stage"] == "model")["changes"]
    assert (change["path"], change["before"], change["after"]) == ("model.training.epochs", 1.0, 2.0)
    line = 1 + TINY[: TINY.index("epochs")].count("\n")
    assert change["at"] == f"tiny.yaml:{line}"


@pytest.mark.parametrize(
    ("old", "new", "stages"),
    [
        ("perplexity <= 100000", "perplexity <= 99999", set()),
        ("concurrency: 4", "concurrency: 5", {"endpoint"}),
        ("output_tokens: 16", "output_tokens: 17", {"evaluation", "endpoint"}),
        ("  rows: 4\n", "  rows: 3\n", {"evaluation"}),
        ("max_tokens: 64", "max_tokens: 63", {"features", "model", "onnx", "evaluation", "endpoint"}),
        ("  port: 0\n", "  port: 0\n  system_prompt: Be brief.\n", {"features", "model", "onnx", "evaluation", "endpoint"}),
    ],
)
def test_a_change_reaches_the_stages_that_read_it_and_no_other(applied: Project, old: str, new: str, stages: set[str]) -> None:
    applied.edit(old, new)
    actions = applied.actions()
    touched = {stage for stage in (*BUILT, "endpoint") if actions[stage] not in ("reuse", "restart")}
    assert touched - {"endpoint"} == stages - {"endpoint"}
    assert "endpoint" in touched or "endpoint" not in stages


def test_a_plan_compares_with_what_was_last_applied_also_when_nothing_had_to_run(applied: Project) -> None:
    applied.forget("endpoint")
    applied.edit("  rows: 4\n", "  rows: 3\n").run("apply", "tiny.yaml", "--yes", *UP_TO)
    applied.edit("  rows: 3\n", "  rows: 4\n").run("apply", "tiny.yaml", "--yes", *UP_TO)
    applied.edit("  rows: 4\n", "  rows: 2\n")
    (change,) = next(step for step in applied.plan()["steps"] if step["stage"] == "evaluation")["changes"]
    assert (change["before"], change["after"]) == (4, 2)


def test_cleaning_that_changes_no_row_retrains_nothing(applied: Project) -> None:
    before = applied.forget("endpoint").digests()
    applied.edit("clean: [collapse_whitespace", "clean: [strip_html, collapse_whitespace")
    plan = applied.plan()
    data = plan["steps"][0]
    assert data["action"] == "rerun"
    assert data["hint"] == "if cleaning changes no row, nothing below runs"
    said = applied.run("apply", "tiny.yaml", "--yes", *UP_TO).stdout
    assert applied.digests() == before
    lines = {line.split()[1]: line for line in said.splitlines() if line.startswith("  ✓")}
    assert "reused" not in lines["data"]
    assert all("reused" in lines[stage] for stage in ("features", "model", "onnx", "evaluation"))


def test_a_changed_source_is_named(applied: Project) -> None:
    (applied.folder / "rows.jsonl").write_text((applied.folder / "rows.jsonl").read_text().replace("shelf", "board"))
    data = applied.plan()["steps"][0]
    assert data["action"] == "rerun"
    assert data["changes"][0]["path"] == "source rows"


def test_a_failed_gate_stops_before_the_endpoint(applied: Project) -> None:
    live = json.loads(applied.run("history", "tiny.yaml", "-o", "json").stdout)
    applied.edit("perplexity <= 100000", "token_f1 >= 0.999")
    applied.edit("concurrency: 4", "concurrency: 5")
    assert applied.actions()["endpoint"] == "blocked"
    assert applied.run("plan", "tiny.yaml", "--exit-code", check=False).returncode == 1, "as apply ends"
    said = applied.run("apply", "tiny.yaml", "--yes", check=False)
    assert said.returncode == 1
    assert "the endpoint still serves release 1" in said.stdout + said.stderr
    assert json.loads(applied.run("history", "tiny.yaml", "-o", "json").stdout) == live


def test_a_selection_below_data_that_fails_its_checks_is_blocked_although_data_was_left_out(applied: Project) -> None:
    applied.edit("data:\n", 'data:\n  checks: {rows: ">= 1000"}\n').edit("concurrency: 4", "concurrency: 5")
    endpoint = applied.plan("--select", "endpoint")["steps"][5]
    assert (endpoint["action"], endpoint["why"][0]) == ("blocked", "data does not pass: rows 40, asked >= 1000")
    said = applied.run("apply", "tiny.yaml", "--select", "endpoint", "--yes", check=False)
    assert (said.returncode, "data does not pass" in said.stderr) == (1, True)
    again = {step["stage"]: step["action"] for step in applied.plan("--force")["steps"]}
    assert again["data"] == "rerun"
    assert "blocked" not in again.values(), "what is made again is judged then"


def test_a_saved_plan_is_applied_as_it_is_and_refused_once_it_is_stale(applied: Project) -> None:
    applied.edit("concurrency: 4", "concurrency: 6")
    applied.run("plan", "tiny.yaml", "--out", "saved.json")
    applied.edit("concurrency: 6", "concurrency: 7")
    stale = applied.run("apply", "tiny.yaml", "--plan", "saved.json", check=False)
    assert stale.returncode == 2
    assert "stale" in stale.stderr
    applied.edit("concurrency: 7", "concurrency: 6")
    assert "Release 2 is live" in applied.run("apply", "tiny.yaml", "--plan", "saved.json").stdout


def test_a_selection_leaves_the_rest_alone_and_force_makes_it_again(applied: Project) -> None:
    actions = applied.actions("--select", "onnx+", "--force")
    assert actions["onnx"] == actions["evaluation"] == "rerun" or actions["evaluation"] == "may rerun"
    assert actions["data"] == actions["features"] == actions["model"] == "skipped"
    before = applied.forget("endpoint").digests()
    said = applied.run("apply", "tiny.yaml", "--select", "evaluation", "--force", "--yes").stdout
    assert "✓ evaluation" in said
    assert "reused" not in said
    assert applied.digests() == before


def test_a_selection_above_which_something_is_damaged_makes_nothing_else(applied: Project) -> None:
    applied.forget("endpoint")
    (tokens,) = applied.store.glob("tiny/features/*/train.*")
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"?")
    said = applied.run("apply", "tiny.yaml", "--select", "model", "--force", "--yes", check=False)
    assert (said.returncode, "not as its manifest says" in said.stdout) == (1, True)
    assert "… data" not in said.stdout
    assert applied.actions()["features"] == "run"


def test_a_selection_whose_upstream_is_missing_says_what_to_make_first(project: Project) -> None:
    said = project.run("apply", "tiny.yaml", "--select", "model", "--yes", check=False)
    assert said.returncode == 1
    assert "features has not been made" in said.stdout + said.stderr


def test_the_plan_can_be_read_by_machines_and_pull_requests(applied_once: Project) -> None:
    assert applied_once.plan()["pending"] == 0
    table = applied_once.run("plan", "tiny.yaml", "-o", "markdown").stdout
    assert "| stage | action |" in table
    assert "| = | model | reuse |" in table


def test_a_plan_imports_nothing_heavy(applied_once: Project) -> None:
    look = (
        "import sys; from llmspec.cli import main; assert main(['plan', 'tiny.yaml']) == 0; "
        "heavy = {'dagster', 'dagster_pipes', 'torch', 'pyspark', 'transformers', 'onnxruntime', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-P", "-c", look]
    done = subprocess.run(command, cwd=applied_once.folder, env=applied_once.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_hundred_specs_are_planned_at_once(project: Project) -> None:
    for number in range(100):
        (project.folder / f"p{number}.yaml").write_text(TINY.replace("name: tiny", f"name: p{number}"))
    plans = json.loads(project.run("plan", *(f"p{number}.yaml" for number in range(100)), "-o", "json").stdout)
    assert len(plans) == 100
    assert all(plan["pending"] == 7 for plan in plans)


def test_a_source_that_is_not_there_is_named_with_its_line(project: Project) -> None:
    project.edit("path: rows.jsonl", "path: row.jsonl")
    said = project.run("plan", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "tiny.yaml:6:13" in said.stderr
    assert "did you mean 'rows.jsonl'" in said.stderr


@pytest.mark.parametrize("old", ["path: rows.jsonl", "{scratch: tiny}"])
def test_a_path_that_the_system_will_not_look_at_is_named_with_its_line(project: Project, old: str) -> None:
    project.edit("  tokenizer: {train: bpe, vocab_size: 400}\n", "")
    long = "n" * 300
    project.edit(old, f"path: {long}.jsonl" if old.startswith("path") else f"{{path: {long}}}")
    said = project.run("plan", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "cannot look for 'nnn" in said.stderr
    assert "File name too long" in said.stderr


def test_explain_tells_what_a_stage_was_made_from(applied_once: Project) -> None:
    said = applied_once.run("explain", "tiny.yaml", "model").stdout
    assert "reuse" in said
    assert "features" in said
    said = applied_once.run("explain", "tiny.yaml", "endpoint").stdout
    assert "release 1" in said
    assert "perplexity" in said
