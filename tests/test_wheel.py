"""The wheel, used from an empty folder: nothing of the checkout is needed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = out.glob("llmspec-*.whl")
    return made


def test_the_wheel_holds_the_packages_and_the_starter_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"llmspec", "assets", "backends", "infra_pulumi"}
    assert "llmspec/starter/quickstart.yaml" in names
    assert "llmspec/starter/data/shop_faq.jsonl" in names
    page = ROOT / "backends" / "serving" / "page"
    assert {f"backends/serving/page/{file.name}" for file in page.iterdir()} <= set(names)


def test_init_validate_plan_and_apply_work_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True)
    user = Project(folder, {"PYTHONPATH": str(site)})
    assert "llmspec plan" in user.run("init", "--name", "mine").stdout
    user.run("validate", "specs/mine.yaml")
    assert "✓ data" in user.run("apply", "specs/mine.yaml", "--select", "data", "--yes").stdout
    loaded = user.run("backends", "-o", "json").stdout
    assert '"serve_onnx"' in loaded
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import llmspec; print(llmspec.__file__)"],
        env=user.environment(),
        capture_output=True,
        text=True,
    )
    assert str(site) in where.stdout


@pytest.mark.parametrize("name", ["My_Bot", "a/b", "-x"])
def test_init_takes_no_name_that_the_language_refuses(project: Project, name: str) -> None:
    said = project.run("init", "elsewhere", f"--name={name}", check=False)
    assert said.returncode == 2
    assert f"no product can be called '{name}'\n  write small letters" in said.stderr
    assert not (project.folder / "elsewhere").exists()


def test_init_overwrites_nothing(project: Project) -> None:
    project.run("init", "--name", "mine")
    before = (project.folder / "specs" / "mine.yaml").read_text()
    again = project.run("init", "--name", "mine", check=False)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert (project.folder / "specs" / "mine.yaml").read_text() == before
