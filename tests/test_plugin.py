"""Somebody else's engine and place: installed with pip, named in YAML, like ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, Project
from dagster_parts import look

PLUGIN = Path(__file__).parent / "plugin"
SPEC = """\
llmspec: 1
name: tiny
data:
  engine: {acme_rows: {shout: true, badge: "${secret.ACME_BADGE}"}}
  sources: [{path: rows.jsonl}]
model:
  base: {scratch: tiny}
places:
  data: {acme_box: {label: crate}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder."""
    site = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(PLUGIN)], check=True, cwd=site)
    return site


@pytest.fixture
def acme(project: Project, installed: Path) -> Project:
    project.env = {
        "PYTHONPATH": os.pathsep.join([str(installed), project.environment()["PYTHONPATH"]]),
        "ACME_BADGE": "s3cr3t-badge-991",
    }
    return project.write(SPEC)


def test_a_foreign_engine_and_place_are_used_from_yaml(acme: Project) -> None:
    acme.run("apply", "tiny.yaml", "--select", "data", "--yes")
    (manifest,) = acme.store.glob("tiny/data/*/manifest.json")
    told = json.loads(manifest.read_text())
    assert told["engine"] == "acme_rows"
    assert told["metrics"]["rows"] == 40
    assert (acme.store / "tiny" / "data" / "crate.ran").read_text() == told["key"]


def test_a_foreign_engine_s_options_are_checked_with_their_place_in_the_file(acme: Project) -> None:
    acme.edit("shout: true", "shuot: true")
    said = acme.run("validate", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "tiny.yaml:4:24" in said.stderr + said.stdout
    assert "did you mean 'shout'" in said.stderr + said.stdout


def test_a_misspelt_foreign_place_is_recognised(acme: Project) -> None:
    acme.edit("acme_box", "acme_bx")
    said = acme.run("validate", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "did you mean 'acme_box'" in said.stderr + said.stdout


def test_a_foreign_place_that_cannot_do_a_stage_is_refused(acme: Project) -> None:
    acme.edit("  data: {acme_box", "  model: {acme_box")
    said = acme.run("validate", "tiny.yaml", check=False)
    assert said.returncode == 2
    assert "acme_box cannot do model" in said.stderr + said.stdout


def test_the_schema_and_the_list_of_backends_know_foreign_cards(acme: Project) -> None:
    schema = acme.run("schema").stdout
    assert "acme_rows" in schema
    assert "Answers in capitals." in schema
    listed = acme.run("backends").stdout
    assert "acme_rows" in listed
    assert "[acme-llmspec]" in listed


@pytest.mark.parametrize("place", ["acme_box", "local"])
@pytest.mark.parametrize("trip", [False, True])
def test_a_secret_that_work_prints_returns_or_raises_is_in_no_file_and_no_output(acme: Project, place: str, trip: bool) -> None:
    acme.edit("{acme_box: {label: crate}}", place).edit("shout: true", f"trip: {str(trip).lower()}")
    plan = acme.run("plan", "tiny.yaml", "--select", "data", "-o", "json", "--out", "saved.json")
    said = acme.run("apply", "tiny.yaml", "--select", "data", "--yes", check=False)
    assert said.returncode == int(trip)
    assert ("refuses badge ***" in said.stdout + said.stderr) == trip, said.stdout + said.stderr
    assert "s3cr3t-badge-991" not in plan.stdout + plan.stderr + said.stdout + said.stderr
    searched = [path for path in acme.folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".db") for path in searched), "Dagster's events are among the files"
    for path in searched:
        assert b"s3cr3t-badge-991" not in path.read_bytes(), path


def test_a_secret_that_is_not_set_is_named(acme: Project) -> None:
    del acme.env["ACME_BADGE"]
    said = acme.run("apply", "tiny.yaml", "--select", "data", "--yes", check=False)
    assert said.returncode == 1
    assert "secret ACME_BADGE is not set" in said.stdout + said.stderr


def test_a_missing_extra_is_said_with_the_line_that_installs_it_before_anything_runs(acme: Project) -> None:
    acme.edit('{acme_rows: {shout: true, badge: "${secret.ACME_BADGE}"}}', "acme_soap")
    said = acme.run("apply", "tiny.yaml", "--select", "data", "--yes", check=False)
    assert said.returncode == 1
    assert "data needs acme_soap_sdk: pip install 'acme-llmspec[soap]'" in said.stderr
    assert "acme_soap_sdk" in acme.run("backends").stdout
    assert "acme_soap_sdk" in acme.run("doctor").stdout


def test_a_foreign_card_that_dagster_refuses_takes_no_other_spec_down(acme: Project) -> None:
    acme.edit('{acme_rows: {shout: true, badge: "${secret.ACME_BADGE}"}}', "acme_soap")
    (acme.folder / "good.yaml").write_text(TINY.replace("name: tiny", "name: good"), encoding="utf-8")
    assets = look(acme)["assets"]
    assert "soap & water" in assets["invalid/tiny"]["description"]
    assert "good/model" in assets


def test_the_contract_of_engines_and_places_holds_for_foreign_cards(installed: Path) -> None:
    """Ours are asked by `test_contract` itself; here they would be asked the same again."""
    suite = str(Path(__file__).parent / "test_contract.py")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "acme", suite]
    path = os.pathsep.join([str(installed), str(PLUGIN.parents[1])])
    env = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # it needs none of pytest's own plugins
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=PLUGIN.parents[1])
    assert done.returncode == 0, done.stdout
    for asked in (
        "loads_nothing_heavy[acme_rows]",
        "takes_options_inputs_output_and_report[acme_rows]",
        "to_its_manifest[acme_box]",
    ):
        assert f"{asked} PASSED" in done.stdout
