"""Data at EMR Serverless: the same program on the application's Spark, with the same bytes out, asked for once."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import TINY, Project
from direct_parts import REGION, client, done, ground, interrupted, killed_and_again, place
from fake_ecs_emr import Emr

from backends.places.emr_job import Run
from backends.places.remote import Errand
from backends.work.clean_engine import sail
from llmspec.aws import Aws
from llmspec.errors import PlaceError
from llmspec.infra import build
from llmspec.job import Job
from llmspec.load import load
from llmspec.stage import Product

if TYPE_CHECKING:
    from moto_parts import Moto

pytestmark = pytest.mark.aws
pytest_plugins = ["moto_parts"]
SOURCES = "  engine: spark\n  sources:\n    - {name: b, path: 'rows*.jsonl'}\n    - {name: a, path: more.csv}\n"
PLACED = "store: s3://{bucket}/bots\nregion: {region}\ntags: {{team: shop}}\nplaces: {{data: {{emr: {options}}}}}\n"
SPEC = TINY.replace("  sources:\n    - path: rows.jsonl\n", SOURCES)
OPTIONS = "{workers: 3, cpu: 4, memory: 16GB, max_runtime: 2h}"


@pytest.fixture(scope="module")
def emr(aws: "Moto", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emr]:
    found = Emr(aws, tmp_path_factory.mktemp("emr"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def outputs(aws: "Moto") -> dict[str, Any]:
    made = client(aws, "emr-serverless").create_application(name="tiny", releaseLabel="emr-6.6.0", type="SPARK")
    return ground(aws, "emr") | {"spark_application": made["applicationId"]}


def written(folder: Path, text: str) -> Project:
    """A product with two sources, one of several files."""
    made = Project(folder).write(text)
    rows = (folder / "rows.jsonl").read_text()
    (folder / "rows-2.jsonl").write_text(rows.replace("shelf", "board"))
    (folder / "more.csv").write_text("question,answer\nWhere is the rack?,It is in the hall.\n")
    return made


@pytest.fixture
def project(
    aws_here: "Moto", emr: Emr, outputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """Its rows are cleaned at EMR: on a Sail that stands for its Spark."""
    (tmp_path / "shop").mkdir()
    bucket = aws_here.bucket()
    made = written(tmp_path / "shop", SPEC + PLACED.format(bucket=bucket, region=REGION, options=OPTIONS))
    made.env = dict(aws_here.env)
    monkeypatch.setenv("LLMSPEC_HOME", str(made.folder / ".llmspec"))
    load(made.spec).place("data").site.found(outputs | {"bucket": bucket})
    aws_here.s3.put_object(Bucket=bucket, Key=f"bots/tiny/code/spark-{build.spark().tag}.tar.gz", Body=b"archive")
    with sail() as remote:
        emr.spark = remote
        yield made


def data_of(project: Project) -> Job:
    return Product.open(project.spec).stage("data").job


@pytest.fixture(scope="module")
def made_here(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the same rows, cleaned on this machine by the embedded engine."""
    here = written(tmp_path_factory.mktemp("here"), SPEC.replace("  engine: spark\n", ""))
    here.run("apply", "tiny.yaml", "--select", "data", "--yes")
    return here.digests()["data"]


def test_rows_cleaned_by_workers_that_read_s3_are_those_that_are_cleaned_here_to_the_byte(
    project: Project, aws: "Moto", emr: Emr, made_here: str
) -> None:
    job = data_of(project)
    made = done(place(project, "data"), job)
    manifest = made.artifact.manifest
    assert (manifest.key, manifest.sources) == (job.key, job.files)
    assert manifest.digest == made_here
    bucket = job.output.removeprefix("s3://").partition("/")[0]
    for key in aws.keys(bucket, "bots/tiny/data/"):
        assert aws.s3.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    assert not aws.keys(bucket, "bots/tiny/jobs/"), "the rows that were handed over are gone"
    assert any(event.kind == "progress" and event.facts["unit"] == "steps" for event in made.heard)
    assert any(f"/job-runs/{emr.box().id}" in line for line in made.shown)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="no java on this machine")
def test_submitted_to_a_real_spark_the_door_works_on_it(project: Project, emr: Emr, made_here: str) -> None:
    emr.spark = ""
    made = done(place(project, "data"), data_of(project))
    assert made.artifact.manifest.digest == made_here


def test_what_is_asked_for_is_bounded_encrypted_and_found_again_by_its_tags(
    project: Project, outputs: dict[str, Any], aws: "Moto"
) -> None:
    job = data_of(project)
    bucket = job.output.removeprefix("s3://").partition("/")[0]
    aws.s3.put_object(Bucket=bucket, Key="bots/tiny/code/spark-0-newer.tar.gz", Body=b"of another source")
    errand = Errand(place(project, "data").site, job)
    run = Run(errand, None, place(project, "data"))  # type: ignore[arg-type] - nothing is said
    asked = run.request("token")
    assert Aws(REGION).faults("emr-serverless", "start_job_run", asked) == []
    assert asked["executionRoleArn"] == outputs["roles"]["data"]
    assert (asked["executionTimeoutMinutes"], asked["retryPolicy"]) == (120, {"maxAttempts": 1})
    assert asked["tags"] | {"team": "shop", "llmspec:name": "tiny", "llmspec:key": job.key} == asked["tags"]
    watched = asked["configurationOverrides"]["monitoringConfiguration"]
    assert watched["s3MonitoringConfiguration"]["encryptionKeyArn"] == outputs["data_key"]
    assert watched["cloudWatchLoggingConfiguration"]["logGroupName"] == "/llmspec/tiny-emr/data"
    settings = run.settings()
    assert settings["spark.executor.instances"] == "3"
    assert settings["spark.sql.catalogImplementation"] == "in-memory"
    for who in ("driver", "executor"):
        assert settings[f"spark.{who}.cores"] == "4"
        assert settings[f"spark.{who}.memory"] == settings[f"spark.{who}.memoryOverhead"] == "8192m", "16 GB together"
    assert settings["spark.archives"] == f"{errand.store.uri}/tiny/code/spark-{build.spark().tag}.tar.gz#environment"
    assert settings["spark.executorEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    assert settings["spark.emr-serverless.driverEnv.LLMSPEC_OUTPUT"] == job.output
    assert not [value for value in settings.values() if " " in value], "they are said in one line"


def test_a_source_that_changed_on_its_way_is_named_and_nothing_is_written(project: Project, aws: "Moto", emr: Emr) -> None:
    job = data_of(project)
    bucket = job.output.removeprefix("s3://").partition("/")[0]

    def change(box: Any) -> None:
        (key,) = [key for key in aws.keys(bucket, "bots/tiny/jobs/") if key.endswith("more.csv")]
        aws.s3.put_object(Bucket=bucket, Key=key, Body=b"question,answer\nWho?,Nobody knows at all.\n")

    emr.once_asked = change
    with pytest.raises(PlaceError, match=r"more\.csv is not the file that the job was planned with") as caught:
        done(place(project, "data"), job)
    assert f"/job-runs/{emr.box().id}" in str(caught.value)
    assert not aws.keys(bucket, "bots/tiny/data/")


def test_bad_rows_are_named_with_their_file_and_line(project: Project) -> None:
    (project.folder / "rows-2.jsonl").write_text('{"question": "Why?", "answer": "So it is."}\nnot JSON\n')
    with pytest.raises(PlaceError, match=r"rows-2\.jsonl: line 2: not JSON"):
        done(place(project, "data"), data_of(project))


def test_whoever_kills_an_apply_pays_for_no_second_run(project: Project, emr: Emr) -> None:
    assert "runs already: nothing is asked for again" in killed_and_again(project, emr)


def test_ctrl_c_cancels_the_run(project: Project, emr: Emr) -> None:
    said = interrupted(project, emr)
    assert emr.boxes[-1].told_to_end == "cancelled", said


def test_another_spark_than_the_spec_names_is_not_used(project: Project) -> None:
    with pytest.raises(PlaceError, match=r"has emr-spark-8\.1\.0, and not emr-spark-9\.0\.0\n  apply again"):
        done(place(project, "data", release="emr-spark-9.0.0"), data_of(project))


def test_without_what_spark_unpacks_it_is_said_how_to_build_it(project: Project, aws: "Moto") -> None:
    bucket = data_of(project).output.removeprefix("s3://").partition("/")[0]
    for key in aws.keys(bucket, "bots/tiny/code/"):
        aws.s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(PlaceError, match=r"what Spark unpacks of this source is not there: .*\n  build it: llmspec apply"):
        done(place(project, "data"), data_of(project))
