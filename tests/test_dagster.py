"""Dagster's face: what the UI shows of a spec, and that a bad spec harms nobody else."""

import json

import pytest
from conftest import TINY, Project
from dagster_parts import look, python


@pytest.fixture
def shelf(project: Project) -> Project:
    """A folder with good specs, and one that is not."""
    specs = project.folder / "specs"
    specs.mkdir()
    (specs / "rows.jsonl").write_text((project.folder / "rows.jsonl").read_text())
    dressed = TINY.replace("data:\n", "owner: team:shop\ntags: {cost-center: cx-1}\ndata:\n").replace("tiny", "first", 1)
    (specs / "first.yaml").write_text(dressed + "monitors: {every: 5m, alarms: [error_rate > 0.01]}\n")
    (specs / "second-one.yaml").write_text(TINY.replace("name: tiny", "name: second-one"))
    (specs / "broken.yaml").write_text(TINY.replace("epochs", "epoks").replace("name: tiny", "name: broken"))
    (specs / "torn.yaml").write_text("name: [torn")
    return project


def test_every_spec_becomes_seven_assets_and_a_bad_one_shows_its_error(shelf: Project) -> None:
    assets = look(shelf)["assets"]
    stages = ["data", "endpoint", "evaluation", "features", "model", "monitors", "onnx"]
    assert sorted(key for key in assets if key.startswith("first/")) == [f"first/{stage}" for stage in stages]
    assert sorted(key for key in assets if key.startswith("second-one/")) == [f"second-one/{stage}" for stage in stages]
    assert "did you mean 'epochs'" in assets["invalid/broken"]["description"]
    assert assets["invalid/torn"]["group"] == "invalid_specs"


def test_of_two_specs_with_one_name_the_first_is_shown_and_the_other_says_so(project: Project) -> None:
    twin = project.folder / "twin"
    twin.mkdir()
    (twin / "tiny.yaml").write_text(TINY)
    project.env["LLMSPEC_SPECS"] = "tiny.yaml:twin"
    assets = look(project)["assets"]
    assert "tiny/model" in assets
    assert "tiny.yaml has the same name" in assets["invalid/twin_tiny_yaml"]["description"]


def test_gates_and_alarms_that_differ_in_a_sign_alone_are_checks_of_their_own(project: Project) -> None:
    project.edit("perplexity <= 100000", "perplexity <= champion * 2, perplexity <= champion + 2, perplexity <= 9")
    project.write(project.spec.read_text() + "monitors: {alarms: [error_rate > 5%, error_rate > 5]}\n")
    assets = look(project)["assets"]
    assert len(assets["tiny/evaluation"]["checks"]) == 3
    assert "perplexity_le_9" in assets["tiny/evaluation"]["checks"]
    assert len(assets["tiny/monitors"]["checks"]) == 2


def test_an_asset_says_whose_it_is_what_made_it_and_which_yaml_it_came_from(shelf: Project) -> None:
    found = look(shelf)
    model = found["assets"]["first/model"]
    assert model["group"] == "first"
    assert model["kinds"] == ["pytorch"]
    assert model["owners"] == ["team:shop"]
    assert model["tags"]["cost-center"] == "cx-1"
    assert "epochs: 1" in model["description"]
    assert model["parents"] == ["first/features"]
    assert found["assets"]["first/evaluation"]["checks"] == ["perplexity_le_100000"]
    assert found["assets"]["first/monitors"]["checks"] == ["error_rate_gt_0_01"]
    assert found["schedules"]["watch_first_every"] == "*/5 * * * *"


def test_the_code_version_follows_the_options_that_a_stage_reads(shelf: Project) -> None:
    before = look(shelf)["assets"]
    spec = shelf.folder / "specs" / "first.yaml"
    spec.write_text(spec.read_text().replace("epochs: 1,", "epochs: 2,"))
    after = look(shelf)["assets"]
    changed = {key for key in before if before[key].get("code") != after[key].get("code")}
    assert changed == {"first/model"}


def test_two_targets_of_one_spec_share_artifacts(applied: Project) -> None:
    applied.write(TINY + "targets: {local: {default: true}, other: {endpoint: {limits: {concurrency: 2}}}}\n")
    actions = applied.actions("--target", "other")
    assert {actions[stage] for stage in ("data", "features", "model", "onnx", "evaluation")} == {"reuse"}
    assert actions["endpoint"] == "deploy"


@pytest.mark.parametrize(
    ("old", "new"), [("perplexity <= 100000", "token_f1 >= 0.999"), ("data:\n", 'data:\n  checks: {rows: ">= 1000"}\n')]
)
def test_materialising_the_endpoint_alone_after_a_failed_gate_or_check_fails(applied: Project, old: str, new: str) -> None:
    applied.edit(old, new)
    applied.edit("concurrency: 4", "concurrency: 5")
    code = (
        "import dagster as dg; from llmspec.apply import dagster_home; dagster_home(); from llmspec.compile import assets; "
        "from llmspec.stage import Product; product = Product.open('tiny.yaml'); instance = dg.DagsterInstance.get(); "
        "only = [dg.AssetKey(['tiny', 'endpoint'])]; "
        "result = dg.materialize(assets(product), selection=only, instance=instance, raise_on_error=False); "
        "print(result.success, result.get_failed_step_keys())"
    )
    assert "False {'tiny__endpoint'}" in python(applied, code)
    assert [release["number"] for release in json.loads(applied.run("history", "tiny.yaml", "-o", "json").stdout)] == [1]
