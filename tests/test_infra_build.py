"""Images: what a target is started from is built by apply, once, of this very source, and whoever is killed finds it again."""

import io
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, Project
from fake_codebuild import CodeBuild, client, push
from moto_parts import Moto, aws, aws_here

from llmspec.aws import Aws
from llmspec.errors import PlaceError
from llmspec.infra import build, images
from llmspec.infra.told import image_lines
from llmspec.load import load
from llmspec.site import Site

__all__ = ["aws", "aws_here"]
pytestmark = pytest.mark.aws
PLACES = "store: s3://{bucket}/bots\nregion: eu-central-1\nplaces: {{model: {{sagemaker: {{instance: ml.g5.xlarge}}}}, {more}}}\n"


@pytest.fixture
def codebuild(aws_here: Moto, monkeypatch: pytest.MonkeyPatch) -> CodeBuild:
    """Before moto's server, for one test."""
    app = aws_here.gate.app
    monkeypatch.setattr(aws_here.gate, "app", CodeBuild(app, aws_here))
    monkeypatch.setattr(build, "EVERY_SECONDS", 0.0)
    return aws_here.gate.app


def site(aws: Moto, tmp_path: Path, more: str = "data: local") -> Site:
    """A product at AWS, on a foundation as its stack would have told it."""
    made, bucket = Project(tmp_path), aws.bucket()
    engine = "data:\n  engine: spark" if "emr" in more else "data:"
    made.write(TINY.replace("data:", engine, 1) + PLACES.format(bucket=bucket, more=more))
    found = load(made.spec).place("model").site
    names = {image: f"tiny-{bucket[-6:]}-{image}" for image in ("serving", "training")}
    ecr = client(aws, "ecr")
    addresses = {image: ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"] for image, name in names.items()}
    found.found({"bucket": bucket, "product": "bots/tiny/", "repositories": addresses, "build_projects": names})
    return found


def project(where: Site) -> str:
    """Of the training image, and its repository."""
    return str(where.ground["build_projects"]["training"])


def taken_out(where: Site, aws: Moto) -> None:
    tag = {"imageTag": images.tag("training", "cpu")}
    client(aws, "ecr").batch_delete_image(repositoryName=project(where), imageIds=[tag])


def begun(codebuild: CodeBuild, where: Site, tag: str) -> None:
    """By somebody else."""
    variables = [{"name": "TAG", "value": tag, "type": "PLAINTEXT"}]
    body = {"projectName": project(where), "sourceLocationOverride": "b/k", "environmentVariablesOverride": variables}
    codebuild.start_build(body | {"idempotencyToken": tag})
    codebuild.asked.clear()


def told(asked: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in asked["environmentVariablesOverride"]}


def test_an_image_that_is_not_there_is_built_once_of_this_very_source(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where, heard = site(aws_here, tmp_path), list[str]()
    build.ready(where, ["data", "model"], heard.append)
    (asked,) = codebuild.asked
    tag = images.tag("training", "gpu")
    assert told(asked) == {"TAG": tag, "ONLY": "training"}
    assert Aws(where.region).faults("codebuild", "start_build", asked) == []
    bucket, _, key = asked["sourceLocationOverride"].partition("/")
    assert key == f"bots/tiny/code/source-{images.digest()[:12]}.zip"
    names = zipfile.ZipFile(io.BytesIO(aws_here.body(bucket, key))).namelist()
    assert {"containers/buildspec.yml", "containers/build.sh", "llmspec/infra/build.py"} <= set(names)
    assert build.required(where, build.training()).endswith(f"/{project(where)}:{tag}")
    said = "\n".join(heard)
    assert (
        said.index("is built at CodeBuild, https://") < said.index("provisioning") < said.index(": build") < said.index("is there")
    )
    build.ready(where, ["data", "model"])
    assert len(codebuild.asked) == 1, "what is there is not built again"


def test_what_a_target_needs_follows_from_its_places_and_machines(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where = site(aws_here, tmp_path, "data: emr, endpoint: {sagemaker: {instance: ml.g5.xlarge}}")
    needed = {(need.what, need.tag) for need in build.needed(where.spec, ["data", "features", "model", "endpoint"])}
    any_, gpu = images.tag("training", "cpu"), images.tag("serving", "gpu")
    assert needed == {("spark", any_), ("training", any_), ("serving", gpu)}
    assert build.needed(where.spec, ["features"]) == []
    build.ready(where, ["data", "endpoint"])
    spark, serving = sorted(map(told, codebuild.asked), key=lambda each: "ONLY" not in each)
    assert spark == {"TAG": any_, "ONLY": "spark"}
    assert serving == {"TAG": gpu, **build.ON_GPUS}
    assert build.required(where, build.spark()).endswith(f"/bots/tiny/code/spark-{any_}.tar.gz")
    assert not build.there(where, build.training())


def test_what_makes_an_image_for_gpus_is_known_to_the_script() -> None:
    script = (ROOT / "containers" / "build.sh").read_text()
    assert all(f"${{{name}:+" in script for name in build.ON_GPUS)


def test_a_build_that_somebody_began_is_waited_for(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where = site(aws_here, tmp_path)
    begun(codebuild, where, images.tag("training", "cpu"))
    build.ready(where, ["model"])
    assert (len(codebuild.builds), codebuild.asked) == (1, [])


def test_a_build_of_another_source_is_let_end_first(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where, heard = site(aws_here, tmp_path), list[str]()
    begun(codebuild, where, "0.0.1-old-any")
    build.ready(where, ["model"], heard.append)
    assert "waits for the build of 0.0.1-old-any" in heard[0]
    assert [each["buildStatus"] for each in codebuild.builds] == ["SUCCEEDED", "SUCCEEDED"]


def test_two_who_ask_at_once_get_one_build(
    aws_here: Moto, codebuild: CodeBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, both, one, plain = site(aws_here, tmp_path), threading.Barrier(2), threading.Lock(), codebuild.start_build

    def at_once(body: dict[str, Any]) -> tuple[str, Any]:
        both.wait(60)  # by now each has seen that there is no build
        with one:
            return plain(body)

    monkeypatch.setattr(codebuild, "start_build", at_once)
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(build.ready, where, ["model"]) for _ in range(2)]:
            each.result()
    assert (len(codebuild.asked), len(codebuild.builds)) == (2, 1)


def test_a_build_that_fails_says_where_why_and_what_it_wrote_and_the_next_apply_builds_again(
    aws_here: Moto, codebuild: CodeBuild, tmp_path: Path
) -> None:
    where, logs = site(aws_here, tmp_path), client(aws_here, "logs")
    codebuild.fails = True
    group, stream = "/llmspec/tiny-prod/build", f"{project(where)}/00000000"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    line = "ERROR: failed to solve: toomanyrequests"
    event = {"timestamp": round(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    with pytest.raises(PlaceError) as caught:
        build.ready(where, ["model"])
    said = str(caught.value)
    assert "the training image was not built: BUILD: Error while executing command: exit status 1" in said
    assert line in said
    assert f"/codebuild/projects/{project(where)}/build/{project(where)}%3A00000000/" in caught.value.log
    codebuild.fails = False
    build.ready(where, ["model"])
    assert [each["buildStatus"] for each in codebuild.builds] == ["FAILED", "SUCCEEDED"]
    assert codebuild.asked[0]["idempotencyToken"] != codebuild.asked[1]["idempotencyToken"]


def test_a_build_that_ends_well_and_pushes_nothing_is_a_failure(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where = site(aws_here, tmp_path)
    codebuild.pushes = False
    with pytest.raises(PlaceError, match="its build ended well, and it is not there"):
        build.ready(where, ["model"])


def test_ctrl_c_leaves_the_build_running_and_says_how_to_end_it(aws_here: Moto, codebuild: CodeBuild, tmp_path: Path) -> None:
    where, heard = site(aws_here, tmp_path), list[str]()

    def stop(line: str) -> None:
        heard.append(line)
        if "provisioning" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.ready(where, ["model"], stop)
    assert "its build goes on, and the next apply finds it" in heard[-2]
    assert heard[-1].endswith(f"aws codebuild stop-build --region eu-central-1 --id {project(where)}:00000000")
    build.ready(where, ["model"])
    assert len(codebuild.builds) == 1


def test_a_plan_says_what_would_be_built_and_how_long_it_took_the_last_time(
    aws_here: Moto, codebuild: CodeBuild, tmp_path: Path
) -> None:
    where = site(aws_here, tmp_path)
    (first,) = build.lacking(where, ["data", "model"])
    assert first.line == f"training     {images.tag('training', 'cpu')}  how long is not known: none was built here yet"
    assert list(image_lines([first]))[1:] == [
        "images: 1 build at CodeBuild, before the first stage",
        f"  + build    {first.line}",
    ]
    assert list(image_lines([first], markdown=True))[-1] == f"- {first.line}"
    build.ready(where, ["model"])
    assert build.lacking(where, ["model"]) == []
    taken_out(where, aws_here)
    assert build.lacking(where, ["model"])[0].line.endswith("about 9 min")


def test_what_is_not_there_is_named_with_what_builds_it(aws_here: Moto, tmp_path: Path) -> None:
    where = site(aws_here, tmp_path)
    push(aws_here, project(where), "0.0.1-another-any")
    with pytest.raises(
        PlaceError, match=r"the training image of this source is not there: .*\n  build it: llmspec apply .* --target"
    ):
        build.required(where, build.training())
    with pytest.raises(PlaceError, match=r"what Spark unpacks of this source is not there: s3://.*/code/spark-.*\n  build it"):
        build.required(where, build.spark())


@pytest.mark.parametrize("only", ["spark", "training", "rubbish"])
def test_a_build_makes_only_what_it_is_told(tmp_path: Path, only: str) -> None:
    """build.sh beside an aws and a docker that know nothing and note what they are asked."""
    calls = tmp_path / "calls"
    for tool in ("aws", "docker"):
        (tmp_path / tool).write_text(
            f'#!/bin/sh\necho "{tool} $*" >> {calls}\ncase "$1 $2" in "s3 ls"|"ecr describe-images") exit 1;; esac\n'
        )
        (tmp_path / tool).chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "TAG": "abc",
        "ONLY": only,
        "TRAINING_REPOSITORY": "r/t",
        "SPARK_ARCHIVES": "s3://b/c",
    }
    script = ROOT / "containers" / "build.sh"
    done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=False)
    built = (
        [line.split("containers/")[1].split(".")[0] for line in calls.read_text().splitlines() if "docker build" in line]
        if calls.exists()
        else []
    )
    assert (done.returncode, built) == {"spark": (0, ["spark"]), "training": (0, ["training"]), "rubbish": (2, [])}[only]
