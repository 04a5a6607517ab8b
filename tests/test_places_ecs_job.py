"""Jobs at ECS: one task on Fargate, asked for once, whose container seals its artifact in the store itself."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import TINY, Project
from direct_parts import REGION, client, done, ground, interrupted, killed_and_again, place
from fake_ecs_emr import Ecs
from test_container_work import folder_digest
from training_parts import make_features, write_base, write_data

from backends.places import direct, ecs_job
from backends.places.ecs_job import Task
from backends.places.remote import Errand
from llmspec.aws import Aws
from llmspec.errors import PlaceError
from llmspec.infra import build
from llmspec.job import Input, Job
from llmspec.load import load
from llmspec.stage import Product

if TYPE_CHECKING:
    from moto_parts import Moto

pytestmark = pytest.mark.aws
pytest_plugins = ["moto_parts"]
PLACED = "store: s3://{bucket}/bots\nregion: {region}\ntags: {{team: shop}}\nplaces: {{data: {{ecs: {options}}}, features: ecs}}\n"


@pytest.fixture(scope="module")
def ecs(aws: "Moto", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ecs]:
    found = Ecs(aws, tmp_path_factory.mktemp("ecs"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def outputs(aws: "Moto") -> dict[str, Any]:
    client(aws, "ecs").create_cluster(clusterName="tiny-local-jobs")
    return ground(aws, "ecs") | {"cluster": "tiny-local-jobs"}


@pytest.fixture
def project(aws_here: "Moto", ecs: Ecs, outputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A product whose data are cleaned at ECS, in a store of its own, and whose foundation stands."""
    made = Project(tmp_path / "shop", dict(aws_here.env))
    made.folder.mkdir()
    bucket = aws_here.bucket()
    made.write(TINY + PLACED.format(bucket=bucket, region=REGION, options="{cpu: 1, memory: 4GB, max_runtime: 1h}"))
    monkeypatch.setenv("LLMSPEC_HOME", str(made.folder / ".llmspec"))
    load(made.spec).place("data").site.found(outputs | {"bucket": bucket})
    return made


def data_of(project: Project) -> Job:
    return Product.open(project.spec).stage("data").job


def test_data_cleaned_there_are_those_that_are_cleaned_here_and_the_container_alone_wrote_them(
    project: Project, ecs: Ecs, aws: "Moto", tmp_path: Path
) -> None:
    job = data_of(project)
    made = done(place(project, "data"), job)
    manifest = made.artifact.manifest
    assert (manifest.key, manifest.sources) == (job.key, job.files)
    here = Project(tmp_path / "here")
    here.folder.mkdir()
    here.write().run("apply", "tiny.yaml", "--select", "data", "--yes")
    assert manifest.digest == here.digests()["data"]
    bucket = job.output.removeprefix("s3://").partition("/")[0]
    for key in aws.keys(bucket, "bots/tiny/data/"):
        assert aws.s3.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    assert not aws.keys(bucket, "bots/tiny/jobs/"), "the rows that were handed over are gone"
    assert any(event.kind == "progress" and event.facts["unit"] == "steps" for event in made.heard), "the terminal saw it move"
    assert any("console.aws.amazon.com/ecs/v2/clusters/tiny-local-jobs/tasks/" in line for line in made.shown)
    assert any("steps" in line for line in made.shown)


def test_what_is_asked_for_is_bounded_apart_and_found_again_by_its_tags(project: Project, outputs: dict[str, Any]) -> None:
    where = place(project, "data", cpu=0.5, memory="2GB", disk="30GB", max_runtime="10m")
    task = Task(Errand(where.site, data_of(project)), None, where)  # type: ignore[arg-type] - nothing is said
    asked = task.request("token")
    assert Aws(REGION).faults("ecs", "run_task", asked) == []
    network = asked["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "DISABLED"
    assert (network["subnets"], network["securityGroups"]) == (outputs["private_subnets"], [outputs["work_security_group"]])
    told = {each["name"]: each["value"] for each in asked["overrides"]["containerOverrides"][0]["environment"]}
    assert told["LLMSPEC_OUTPUT"] == data_of(project).output
    assert told["LLMSPEC_MOST_SECONDS"] == "600"
    tags = {each["key"]: each["value"] for each in asked["tags"]}
    assert (tags["team"], tags["llmspec:name"], tags["llmspec:stage"]) == ("shop", "tiny", "data")
    definition = Aws(REGION).ask("ecs", "describe_task_definition", taskDefinition=asked["taskDefinition"])["taskDefinition"]
    assert (definition["cpu"], definition["memory"], definition["ephemeralStorage"]) == ("512", "2048", {"sizeInGiB": 30})
    assert definition["executionRoleArn"] == definition["taskRoleArn"] == outputs["roles"]["data"]
    (work,) = definition["containerDefinitions"]
    assert work["image"] == f"{outputs['repositories']['training']}:{build.training().tag}", "of this very source"
    assert work["logConfiguration"]["options"]["awslogs-group"] == "/llmspec/tiny-ecs/data"
    assert task.request("other")["taskDefinition"] == asked["taskDefinition"], "it serves every job of the stage"


def test_a_failing_job_gives_the_works_own_reason_its_page_and_its_log(project: Project, ecs: Ecs) -> None:
    project.edit("[collapse_whitespace, drop_missing]", "[{drop_short: {column: answer, characters: 999}}]")
    with pytest.raises(PlaceError) as caught:
        done(place(project, "data"), data_of(project))
    said = str(caught.value)
    assert "none of 40 rows is left" in said
    assert f"/tasks/{ecs.box().id.rpartition('/')[2]}" in said
    assert Path(caught.value.log).read_text()
    before = len(ecs.boxes)
    with pytest.raises(PlaceError, match="none of 40 rows is left"):
        done(place(project, "data"), data_of(project))
    assert len(ecs.boxes) == before + 1, "asked again, it is tried again"


def test_a_task_that_found_no_capacity_is_asked_for_again(project: Project, ecs: Ecs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "PAUSE_SECONDS", 0.01)
    before = len(ecs.boxes)
    ecs.fail_first = "Capacity is unavailable at this time. Please try again later"
    made = done(place(project, "data"), data_of(project))
    assert any("Capacity is unavailable" in event.facts.get("text", "") for event in made.heard)
    assert len(ecs.boxes) == before + 2


def test_a_job_that_takes_longer_than_it_may_ends_itself(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    where = place(project, "data", max_runtime="1m")
    object.__setattr__(where, "max_runtime", 0.2)  # less than any spec may say, and in whole seconds it might be enough
    monkeypatch.setattr(ecs_job, "ceil", lambda number: number if number < 1 else math.ceil(number))
    with pytest.raises(PlaceError, match="took longer than max_runtime"):
        done(where, data_of(project))


def test_inputs_of_this_machine_are_handed_over(project: Project, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", layers=1)
    make_features(tmp_path / "unused", data := write_data(tmp_path / "data"), base)
    spec = Product.open(project.spec)
    options = dict(spec.everything)
    inputs = {"data": Input(str(data), folder_digest(data))}
    draft = Job("tiny", "features", "tokenize_hf", 1, "backends.work.tokenize_hf:tokenize", options, options, inputs)
    store = place(project, "data").site.store
    made = done(place(project, "features"), replace(draft, output=store.below(f"tiny/features/{draft.key}").uri))
    assert made.artifact.manifest.inputs == {"data": inputs["data"].digest}


def test_secrets_are_named_by_their_arn_and_all_that_are_missing_are_said(project: Project, aws: "Moto") -> None:
    job = data_of(project)
    secret = replace(job, options=job.options | {"one": "${secret.SHOP_TOKEN}", "two": "${secret.SHOP_KEY}"})
    task = Task(Errand(place(project, "data").site, secret), None, place(project, "data"))  # type: ignore[arg-type] - nothing is said
    with pytest.raises(PlaceError, match=r"create-secret --name tiny-local/SHOP_KEY.*\n.*tiny-local/SHOP_TOKEN"):
        task.wanted()
    manager = client(aws, "secretsmanager")
    arns = {
        name: manager.create_secret(Name=f"tiny-local/{name}", SecretString="hunter2")["ARN"] for name in ("SHOP_TOKEN", "SHOP_KEY")
    }
    (work,) = task.wanted()["containerDefinitions"]
    assert {each["name"]: each["valueFrom"] for each in work["secrets"]} == arns


def test_whoever_kills_an_apply_pays_for_no_second_task(project: Project, ecs: Ecs) -> None:
    assert "runs already: nothing is asked for again" in killed_and_again(project, ecs)


def test_ctrl_c_ends_the_task(project: Project, ecs: Ecs) -> None:
    said = interrupted(project, ecs)
    assert ecs.boxes[-1].told_to_end == "interrupted where llmspec runs", said


def test_what_the_foundation_lacks_is_said_with_what_brings_it(project: Project) -> None:
    site = place(project, "data").site
    site.found({name: value for name, value in site.ground.items() if name != "cluster"})
    with pytest.raises(PlaceError, match="the foundation has no cluster\n  apply again"):
        done(place(project, "data"), data_of(project))
    site.found({**{name: value for name, value in site.ground.items() if name != "private_subnets"}, "cluster": "tiny-local-jobs"})
    with pytest.raises(PlaceError, match="no network for a task\n  apply again"):
        done(place(project, "data"), data_of(project))
