"""The images, as far as can be known without Docker: what they copy and install exists, what they start is what is tested."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from container_parts import FILES, SERVE, WORK, environment, instructions, said

from llmspec.infra.build import ON_GPUS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
both = pytest.mark.parametrize("file", FILES.values(), ids=lambda file: file.stem)


def copied(file: Path) -> list[tuple[list[str], str]]:
    """Sources in the build's context, and where they go."""
    words = [rest.split() for rest in said(file, "COPY") if not rest.startswith("--from=")]
    return [(sources, target) for *sources, target in words]


@both
def test_every_source_that_is_copied_exists_and_is_sent_to_the_builder(file: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source for group, _ in copied(file) for source in group]
    assert len(sources) > 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in sent, f"{source} is kept from the builder by .dockerignore"


@both
def test_every_stage_that_is_copied_from_exists(file: Path) -> None:
    stages = {rest.split()[-1] for rest in said(file, "FROM") if " AS " in rest}
    assert {rest.split()[0].removeprefix("--from=") for rest in said(file, "COPY") if rest.startswith("--from=")} <= stages


@pytest.mark.parametrize(("module", "word"), [(SERVE, "serve"), (WORK, "train")])
def test_what_an_image_starts_is_what_the_tests_start(module: str, word: str) -> None:
    assert [json.loads(rest) for rest in said(FILES[module], "ENTRYPOINT")] == [["python", "-P", "-m", module]]
    assert [json.loads(rest) for rest in said(FILES[module], "CMD")] == [[word]]


@both
def test_an_image_runs_as_nobody_in_particular(file: Path) -> None:
    defaults = dict(rest.split("=", 1) for rest in said(file, "ARG") if "=" in rest)
    (user,) = said(file, "USER")
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", defaults.get(user.strip("${}"), user)), (
        "a number, so that Kubernetes can check it"
    )
    assert instructions(file)[-3][0] in ("USER", "HEALTHCHECK"), "nothing is installed after it"


@both
def test_no_secret_is_baked_in(file: Path) -> None:
    names = {re.split(r"[= ]", rest)[0] for rest in said(file, "ARG")}
    names |= {name for rest in said(file, "ENV") for name in re.findall(r"(\w+)=", rest)}
    assert not [name for name in names if re.search(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL", name)]
    assert not said(file, "ADD"), "ADD fetches and unpacks"


def requirements(*extras: str) -> list[str]:
    command = [sys.executable, str(ROOT / "containers" / "wanted.py"), *extras]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def locked_lines() -> str:
    return (ROOT / "requirements.lock").read_text().lower().replace("_", "-")


def extras_of(file: Path) -> list[str]:
    (run,) = [rest for rest in said(file, "RUN") if "wanted.py" in rest]
    words = re.findall(r"wanted\.py ([^>]+)>", run)[0].split()
    return [extra for word in words for extra in (("serve", "serve-gpu") if word == "${EXTRA}" else (word,))]


@both
def test_what_an_image_installs_exists_and_is_pinned_by_the_lock(file: Path) -> None:
    assert set(extras_of(file)) <= set(PROJECT["project"]["optional-dependencies"])
    locked = set(re.findall(r"^([^#=]+)==", locked_lines(), flags=re.MULTILINE))
    for requirement in requirements(*extras_of(file)):
        name = re.split(r"[\[=<>!~]", requirement)[0].lower()
        assert name in locked or re.fullmatch(r"onnxruntime-gpu==[\d.]+", requirement), requirement
    assert all(
        "requirements.lock" in rest
        for rest in said(file, "RUN")
        if "install" in rest and "--no-deps" not in rest and "apt" not in rest
    )


def test_an_unknown_extra_is_no_empty_list() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        requirements("serv")


def test_no_image_installs_the_scheduler() -> None:
    assert not [line for line in requirements("spark", "train", "serve") if line.startswith("dagster==")]
    assert [line for line in requirements("serve") if line.startswith("dagster-pipes")], "jobs report through it"


@both
def test_what_is_copied_is_enough_to_install_and_start(file: Path, tmp_path: Path) -> None:
    """The last step of the build, by hand: a wheel from what was copied and nothing else, and its entry point from there."""
    src, site = tmp_path / "src", tmp_path / "site"
    for sources, target in copied(file):
        for source in sources:
            place = src / target if target != "./" else src
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / source, place / Path(source).name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(src)], check=True, capture_output=True)
    module = json.loads(said(file, "ENTRYPOINT")[0])[-1]
    blocked = ["dagster", "boto3", "pulumi", "infra_pulumi", "assets"]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); import {module} as door; print(door.__file__)"
    known = environment(PYTHONPATH=str(site))
    found = subprocess.run([sys.executable, "-P", "-c", code], env=known, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.startswith(str(site)), "it needs neither the checkout nor what images leave out"


FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
[ "$(basename "$0") $1 $2" != "aws s3 ls" ] || exit "$UNKNOWN"
[ "$(basename "$0") $1 $2" != "aws ecr describe-images" ] || exit "$UNKNOWN"
[ "$1" != login ] || cat > /dev/null
[ "$1" != build ] || echo "without attestations: ${BUILDX_NO_DEFAULT_ATTESTATIONS:-no}" >> "$CALLS"
"""


def built(tmp_path: Path, **more: str) -> tuple[int, list[str]]:
    """build.sh beside an aws and a docker that only note what they were asked. Its exit code, and the notes."""
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    tools.mkdir(exist_ok=True)
    for name in ("aws", "docker"):
        (tools / name).write_text(FAKE)
        (tools / name).chmod(0o755)
    calls.write_text("")
    known = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls), "UNKNOWN": "254", **more}
    (script,) = yaml.safe_load((ROOT / "containers" / "buildspec.yml").read_text())["phases"]["build"]["commands"]
    done = subprocess.run(script.split(), env=known, cwd=ROOT, check=False, capture_output=True)
    return done.returncode, calls.read_text().splitlines()


REPOSITORIES = {"SERVING_REPOSITORY": "registry.example/bot/serving", "TRAINING_REPOSITORY": "registry.example/bot/training"}


def test_the_build_makes_and_pushes_both_images(tmp_path: Path) -> None:
    code, calls = built(tmp_path, **REPOSITORIES, TAG="abc", TORCH_INDEX="https://wheels.example/cpu", SERVING_EXTRA="serve-gpu")
    assert code == 0
    serve, train = (call for call in calls if call.startswith("docker build"))
    assert (
        serve
        == "docker build --file containers/serving.Dockerfile --tag registry.example/bot/serving:abc --build-arg EXTRA=serve-gpu ."
    )
    assert "--build-arg RUN_AS=0:0 --build-arg TORCH_INDEX=https://wheels.example/cpu ." in train
    assert [call for call in calls if call.startswith("docker push")] == [
        "docker push registry.example/bot/serving:abc",
        "docker push registry.example/bot/training:abc",
    ]
    assert "aws ecr describe-images --repository-name bot/serving --image-ids imageTag=abc" in calls
    for name, call in (("serving", serve), ("training", train)):
        args = {rest.split("=")[0] for rest in said(ROOT / "containers" / f"{name}.Dockerfile", "ARG")}
        assert set(re.findall(r"--build-arg (\w+)=", call)) <= args


def test_an_image_is_pushed_alone_without_an_attestation_that_lambda_refuses(tmp_path: Path) -> None:
    _, calls = built(tmp_path, **REPOSITORIES, TAG="abc")
    assert [call for call in calls if call.startswith("without")] == ["without attestations: 1"] * 2


def test_what_an_image_is_made_from_comes_from_no_registry_that_counts_pulls_by_address() -> None:
    given = [rest.partition("=") for file in (ROOT / "containers").glob("*.Dockerfile") for rest in said(file, "ARG")]
    images = [value for name, _, value in given if name in ("BASE", "ADAPTER")]
    assert len(images) == 4
    assert all(image.startswith("public.ecr.aws/") for image in images)
    assert ON_GPUS["SERVING_BASE"].startswith("nvcr.io/")


def test_an_image_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    code, calls = built(tmp_path, **REPOSITORIES, TAG="abc", UNKNOWN="0")
    assert code == 0
    assert not [call for call in calls if call.startswith("docker")]


ARCHIVES = {"SPARK_ARCHIVES": "s3://acme-llm/bot/code", "TAG": "abc"}


def test_what_spark_unpacks_is_built_under_the_same_tag_and_sent_once(tmp_path: Path) -> None:
    code, calls = built(tmp_path, **REPOSITORIES, **ARCHIVES)
    assert code == 0
    (build,) = (call for call in calls if "spark.Dockerfile" in call)
    made = re.fullmatch(r"docker build --file containers/spark\.Dockerfile --output (\S+) \.", build)
    assert made
    assert calls[-1] == f"aws s3 cp --only-show-errors {made[1]}/spark.tar.gz s3://acme-llm/bot/code/spark-abc.tar.gz"
    code, calls = built(tmp_path, **REPOSITORIES, **ARCHIVES, UNKNOWN="0")
    assert (code, [call for call in calls if call.startswith(("docker", "aws s3 cp"))]) == (0, [])


def test_what_spark_unpacks_holds_our_code_pinned_packages_and_no_other_spark() -> None:
    file = ROOT / "containers" / "spark.Dockerfile"
    for sources, _ in copied(file):
        assert all((ROOT / source).exists() for source in sources)
    assert extras_of(file) == ["spark-workers", "s3"]
    names = [re.split(r"[\[=<>!~]", line)[0] for line in requirements(*extras_of(file))]
    assert {"pydantic", "pyarrow", "numpy", "boto3", "dagster-pipes"} <= set(names)
    assert not {"pyspark", "pysail", "torch", "dagster"} & set(names), "the application brings its own Spark"
    assert all(f"\n{name}==" in locked_lines() for name in names)


def test_what_spark_unpacks_holds_what_pyspark_asks_for_before_it_maps_rows() -> None:
    """PySpark's own check, with nothing of what it may ask for but what the archive has."""
    names = {re.split(r"[\[=<>!~]", line)[0] for line in requirements("spark-workers", "s3")}
    hidden = {"numpy", "pandas", "pyarrow"} - names
    asks = (
        f"import sys\nsys.modules.update(dict.fromkeys({sorted(hidden)}))\n"
        "from pyspark.sql.pandas.functions import pandas_udf\nfrom pyspark.util import PythonEvalType\n"
        "from pyspark.sql.types import LongType, StructType\nrow = StructType().add('a', LongType())\n"
        "print(pandas_udf(lambda rows: rows, row, PythonEvalType.SQL_MAP_ARROW_ITER_UDF).__name__)"
    )
    told = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=False)
    assert told.stdout == "<lambda>\n", told.stderr


@pytest.mark.parametrize("missing", [{"TAG": ""}, {"SERVING_REPOSITORY": "", "TRAINING_REPOSITORY": ""}])
def test_a_build_that_does_not_know_what_to_make_fails(tmp_path: Path, missing: dict[str, str]) -> None:
    code, calls = built(tmp_path, **(REPOSITORIES | {"TAG": "abc"} | missing))
    assert code != 0
    assert calls == []
