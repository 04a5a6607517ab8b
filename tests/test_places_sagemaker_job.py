"""Jobs at SageMaker: asked for once, whatever is killed, heard while they run, and taken into the store byte by byte."""

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import conftest
import dagster as dg
import pytest
from conftest import TINY, Project
from fake_sagemaker import Box, SageMaker
from serving_parts import eventually
from test_container_work import TRAINING, folder_digest, trained_here
from training_parts import content_of, make_features, write_base, write_data

from backends.places import sagemaker_job, watch
from backends.places.remote import Errand
from backends.places.sagemaker import SageMaker as Place
from backends.places.sagemaker_request import request
from backends.places.talk import Passing, Talk
from backends.work.checkpoint import is_whole
from llmspec.aws import Aws
from llmspec.errors import FAILED, DamagedError, PlaceError, SpecError
from llmspec.infra import build
from llmspec.job import Input, Job
from llmspec.load import load
from llmspec.progress import Event, listening
from llmspec.shelf import File, Folder, files_in, sha256_of, shelf_at
from llmspec.spec.governance import Governance
from llmspec.stage import Product
from llmspec.store import Artifact, Manifest, content_digest, open_artifact, remember_store

if TYPE_CHECKING:
    from moto_parts import Moto

pytestmark = pytest.mark.aws
pytest_plugins = ["moto_parts"]
REGION = "eu-central-1"
"""Of moto's server in tests."""
PLACED = "store: s3://{bucket}/bots\nregion: {region}\ntags: {{team: shop}}\nplaces: {{model: {{sagemaker: {options}}}}}\n"
ASKED: dict[str, Any] = {
    "base": {"path": "base"},
    "method": "lora",
    "adapter": {"rank": 4, "dropout": 0.2},
    "training": TRAINING | {"epochs": 6},
}
LONG = (
    "training: {epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512}",
    "training: {epochs: 12, batch_tokens: 64, checkpoint_every: 300ms}",
)


@pytest.fixture(scope="module")
def sagemaker(aws: "Moto", tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    """One for all tests: their jobs have different names."""
    found = SageMaker(aws.gate.app, aws, tmp_path_factory.mktemp("sagemaker"))
    aws.gate.app = found
    yield found
    found.close()
    aws.gate.app = found.app


@dataclass(frozen=True)
class Foundation:
    """What a foundation's stack would have made and told, for one bucket."""

    bucket: str
    outputs: dict[str, Any]


@pytest.fixture(scope="module")
def foundation(aws: "Moto") -> Foundation:
    keys = {"region_name": REGION, "endpoint_url": aws.url, "aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    iam, ecr, kms = (boto3.client(name, **keys) for name in ("iam", "ecr", "kms"))
    roles = {}
    for kind in ("data", "training", "evaluation"):
        role = iam.create_role(RoleName=f"tiny-local-{kind}", AssumeRolePolicyDocument="{}")
        roles[kind] = role["Role"]["Arn"]
    repository = ecr.create_repository(repositoryName="tiny-local-training")["repository"]
    manifest = {"schemaVersion": 2, "config": {"digest": f"sha256:{1:064}"}, "layers": []}
    ecr.put_image(
        repositoryName="tiny-local-training",
        imageManifest=json.dumps(manifest),
        imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
        imageTag=build.training().tag,
    )
    bucket = aws.bucket()
    outputs = {
        "bucket": bucket,
        "product": "bots/tiny/",
        "data_key": kms.create_key()["KeyMetadata"]["Arn"],
        "roles": roles,
        "repositories": {"training": repository["repositoryUri"]},
        "build_projects": {"training": "tiny-local-training"},
        "private_subnets": ["subnet-1", "subnet-2"],
        "work_security_group": "sg-1",
    }
    return Foundation(bucket, outputs)


@pytest.fixture
def project(
    foundation: Foundation, aws_here: "Moto", sagemaker: SageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A product whose model is made at SageMaker, and whose foundation stands."""
    made = Project(tmp_path / "shop", dict(aws_here.env))
    made.folder.mkdir()
    options = "{instance: ml.m5.large, max_runtime: 2h}"
    made.write(TINY + PLACED.format(bucket=foundation.bucket, region=REGION, options=options))
    monkeypatch.setenv("LLMSPEC_HOME", str(made.folder / ".llmspec"))
    monkeypatch.setattr(watch, "PACE", watch.Pace(0.05, 0.3))
    load(made.spec).place("model").site.found(foundation.outputs)
    return made


def place(project: Project, **options: Any) -> Place:
    """As the spec has it for the model, or with other options."""
    found = load(project.spec).place("model")
    assert isinstance(found, Place)
    return Place(**options).at(found.site) if options else found


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, foundation: Foundation) -> Job:
    """A LoRA over a micro base; its inputs are on this machine."""
    folder = tmp_path_factory.mktemp("parts")
    base = write_base(folder / "base", layers=2)
    make_features(folder / "features", write_data(folder / "data"), base)
    inputs = {name: Input(str(folder / name), folder_digest(folder / name)) for name in ("base", "features")}
    options = {"model": ASKED}
    draft = Job("tiny", "model", "train_hf", 1, "backends.work.train_hf:train", options, options, inputs)
    return replace(draft, output=f"s3://{foundation.bucket}/bots/tiny/model/{draft.key}")


def done(where: Place, job: Job) -> "Done":
    """Through Dagster, as an apply does it: the artifact, what a terminal heard, and what Dagster shows."""
    heard: list[Event] = []

    @dg.asset
    def it(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        where.run(context, job)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance, listening(heard.append):
        result = dg.materialize([it], instance=instance)
        shown = [entry.user_message for entry in instance.all_logs(result.run_id)]
    made = open_artifact(shelf_at(job.output, Path()))
    assert made
    return made.verify(), heard, shown


@pytest.fixture(scope="module")
def stocked(foundation: Foundation, aws: "Moto", sagemaker: SageMaker, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A product whose data and features were made here and sent to S3, and whose model is to be made at SageMaker."""
    made = conftest.trained(tmp_path_factory).copy(tmp_path_factory.mktemp("stocked") / "shop")
    made.env = dict(aws.env)
    options = "{instance: ml.m5.large, max_runtime: 2h}"
    made.write(TINY + PLACED.format(bucket=foundation.bucket, region=REGION, options=options)).edit(*LONG)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**aws.env, "LLMSPEC_HOME": str(made.folder / ".llmspec")}.items():
            patch.setenv(name, value)
        remember_store("tiny", Folder(made.store))
        load(made.spec).place("model").site.found(foundation.outputs)
    made.run("apply", "tiny.yaml", "--yes", "--select", "+features")
    shutil.rmtree(made.store)
    assert made.actions("--select", "+model")["features"] == "reuse"
    return made


Done = tuple[Artifact, list[Event], list[str]]


@pytest.fixture(scope="module")
def here(training: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the same training leaves on this machine, where nobody interrupts it."""
    folder = tmp_path_factory.mktemp("here")
    trained_here(training, folder)
    return folder


def elsewhere(job: Job, store: str) -> Job:
    """The same content for another store."""
    return replace(job, output=job.output.replace("/bots/", f"/{store}/"))


def test_a_model_is_trained_on_spare_capacity_that_is_taken_away_and_lies_in_the_store_as_if_it_were_made_here(
    project: Project, sagemaker: SageMaker, training: Job, here: Path, aws: "Moto", foundation: Foundation
) -> None:
    where = place(project, instance="ml.m5.large", spot=True)
    name = Errand(where.site, training).name(1)

    def take_away() -> None:
        box = sagemaker.job(name)
        eventually(lambda: box.process is not None and len(checkpoints_seen(box, training)) >= 2, 60)
        sagemaker.interrupt(box)

    thief = threading.Thread(target=take_away)
    thief.start()
    made, heard, shown = done(where, training)
    thief.join()
    box = sagemaker.job(name)
    assert (box.status, box.starts) == ("Completed", 2)
    assert made.manifest.key == training.key
    assert made.manifest.digest == content_of(here)
    said = aws.s3.head_object(Bucket=foundation.bucket, Key=f"bots/tiny/model/{training.key}/manifest.json")
    assert said["ServerSideEncryption"] == "aws:kms"
    assert any("going on from the checkpoint at step" in line for line in shown)
    assert any(event.kind == "progress" and event.facts["unit"] == "steps" for event in heard), "the terminal saw it move"
    assert any("steps" in line and "loss" in line for line in shown), "and so did Dagster"
    assert any("console.aws.amazon.com" in line and "#/jobs/tiny-local-model-" in line for line in shown)
    assert not aws.keys(foundation.bucket, f"bots/tiny/jobs/model/{training.key}"), "what was for the job only is gone"
    assert not aws.keys(foundation.bucket, f"bots/tiny/checkpoints/{training.key}")


def checkpoints_seen(box: Box, job: Job, seen: dict[str, set[int]] = {}) -> set[int]:  # noqa: B006 - what was seen is kept
    path = box.ml / "checkpoints" / f"{job.key}.partial" / "checkpoint" / "last.pt"
    if is_whole(path):
        seen.setdefault(box.name, set()).add(path.stat().st_mtime_ns)
    return seen.get(box.name, set())


def test_what_is_asked_for_is_encrypted_bounded_apart_and_found_again_by_its_tags(
    project: Project, training: Job, foundation: Foundation
) -> None:
    where = place(project, instance="ml.g5.xlarge", spot=True, max_runtime="2h", volume="80GB")
    errand = Errand(where.site, training)
    asked = request(where, errand, build.required(where.site, build.training()), errand.name(1))
    assert Aws(REGION).faults("sagemaker", "create_training_job", asked) == []
    assert (
        asked["AlgorithmSpecification"]["TrainingImage"]
        == f"{foundation.outputs['repositories']['training']}:{build.training().tag}"
    )
    assert asked["RoleArn"] == foundation.outputs["roles"]["training"]
    assert asked["OutputDataConfig"]["KmsKeyId"] == foundation.outputs["data_key"]
    assert asked["ResourceConfig"] == {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}, (
        "its own disk, no key"
    )
    limits = asked["StoppingCondition"]
    assert limits["MaxRuntimeInSeconds"] == 7200 <= limits["MaxWaitTimeInSeconds"]
    assert asked["EnableManagedSpotTraining"] is True
    assert asked["CheckpointConfig"]["S3Uri"] == f"s3://{foundation.bucket}/bots/tiny/checkpoints/{training.key}/"
    assert asked["EnableNetworkIsolation"] is True
    assert asked["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert "Environment" not in asked
    tags = {each["Key"]: each["Value"] for each in asked["Tags"]}
    assert tags == {
        "team": "shop",
        "llmspec:name": "tiny",
        "llmspec:target": "local",
        "llmspec:stage": "model",
        "llmspec:key": training.key,
    }
    plain = request(place(project, instance="ml.m5.large", volume="80GB"), errand, "image", errand.name(1))
    assert plain["ResourceConfig"]["VolumeSizeInGB"] == 80
    assert plain["ResourceConfig"]["VolumeKmsKeyId"] == foundation.outputs["data_key"]
    assert "MaxWaitTimeInSeconds" not in plain["StoppingCondition"]


def test_a_job_that_fetches_from_the_hub_is_the_only_one_that_is_not_isolated(project: Project, training: Job) -> None:
    hub = {"model": {**ASKED, "base": {"hub": "acme/base", "revision": "ab" * 20}}}
    errand = Errand(place(project).site, replace(training, options=hub))
    assert request(place(project), errand, "image", "name")["EnableNetworkIsolation"] is False
    assert request(place(project, network_isolation=True), errand, "image", "name")["EnableNetworkIsolation"] is True


def test_a_base_from_the_hub_is_fetched_by_the_job_and_gives_the_weights_that_its_folder_would(
    project: Project, sagemaker: SageMaker, training: Job, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is its cache: there is no other where tests run."""
    revision = "ab" * 20
    shutil.copytree(training.inputs["base"].uri, tmp_path / "hub" / "models--acme--base" / "snapshots" / revision)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = {"model": ASKED | {"base": {"hub": "acme/base", "revision": revision}}}
    draft = replace(training, options=options, keyed=options, inputs={"features": training.inputs["features"]})
    job = replace(draft, output=draft.output.replace(training.key, draft.key))
    made, _, _ = done(place(project), job)
    box = sagemaker.job(Errand(place(project).site, job).name(1))
    assert (box.status, box.asked["EnableNetworkIsolation"], "base" in box.channels) == ("Completed", False, False)
    for weights in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert made.manifest.files[weights].sha256 == sha256_of(here / weights)


def test_a_job_that_fetches_from_the_hub_stands_in_no_network_of_ours_which_leads_to_no_hub(
    training: Job, foundation: Foundation, aws_here: "Moto", tmp_path: Path
) -> None:
    written = (conftest.ROOT / "specs" / "aws-full.yaml").read_text()
    (tmp_path / "aws-full.yaml").write_text(written.replace("acme-llmspec-full-prod", foundation.bucket))
    full = load(tmp_path / "aws-full.yaml", "prod")
    site = full.place("model").site
    site.found(foundation.outputs)
    asked = {"model": full.spec.model.model_dump(mode="json")}
    for stage in ("model", "features"):
        where = full.place(stage)
        assert isinstance(where, Place)
        job = replace(training, stage=stage, options=asked)
        reaching = _ways(request(where, Errand(site, job), "image", "name"))
        assert reaching == {"EnableNetworkIsolation": False}
        given = replace(job, options={"model": {**asked["model"], "base": {"path": "base"}}})
        shut = _ways(request(where, Errand(site, given), "image", "name"))
        assert shut == {
            "EnableNetworkIsolation": True,
            "VpcConfig": {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
        }
        led_out = replace(site, spec=site.spec.model_copy(update={"governance": Governance(nat_gateways=1)}))
        assert _ways(request(where, Errand(led_out, job), "image", "name")) == shut | {"EnableNetworkIsolation": False}


def _ways(asked: dict[str, Any]) -> dict[str, Any]:
    """What a request says of the network, of either kind of job."""
    said = asked.get("NetworkConfig", asked)
    return {name: said[name] for name in ("EnableNetworkIsolation", "VpcConfig") if name in said}


def test_data_are_cleaned_by_a_processing_job_that_is_asked_for_again_when_there_was_no_capacity(
    project: Project, sagemaker: SageMaker, aws: "Moto", foundation: Foundation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sagemaker_job, "PAUSE_SECONDS", 0.01)
    job = Product.open(project.spec).stage("data").job
    monkeypatch.setattr(sagemaker, "deaf", True)
    sagemaker.fail_first = "CapacityError: Unable to provision requested ML compute capacity."
    made, heard, _ = done(place(project, instance="ml.m5.large"), job)
    assert made.manifest.sources == job.files, "as they are called where the spec is"
    first, second = (sagemaker.job(Errand(place(project).site, job).name(number)) for number in (1, 2))
    assert (first.status, second.status) == ("Failed", "Completed")
    notes = " ".join(event.facts["text"] for event in heard if event.kind == "note")
    assert "CapacityError" in notes
    assert "its log cannot be shown here" in notes, "who may not read it is told, and the job goes on"
    assert f"logs:DescribeLogStreams in {REGION}: access denied" in notes
    asked = second.asked
    assert asked["RoleArn"] == foundation.outputs["roles"]["data"]
    assert asked["NetworkConfig"]["EnableNetworkIsolation"] is True
    assert asked["ProcessingOutputConfig"]["KmsKeyId"] == foundation.outputs["data_key"]
    assert all(each["S3Input"]["LocalPath"].startswith("/opt/ml/processing/") for each in asked["ProcessingInputs"])
    assert not aws.keys(foundation.bucket, f"bots/tiny/jobs/data/{job.key}"), "the rows that were handed over are gone"


def test_a_job_that_ended_while_nobody_looked_is_taken_and_one_that_was_taken_is_done_again_when_that_is_asked_for(
    project: Project, sagemaker: SageMaker, foundation: Foundation
) -> None:
    project.edit("/bots", "/left")
    where = place(project)
    where.site.found(foundation.outputs)
    job = Product.open(project.spec).stage("data").job
    errand = Errand(where.site, job)
    errand.hand_over({})
    asked = request(where, errand, build.required(where.site, build.training()), errand.name(1))
    Aws(REGION).ask("sagemaker", "create_processing_job", **asked)  # and the client was killed
    box = sagemaker.job(errand.name(1))
    eventually(lambda: box.ended, 60)
    made, heard, _ = done(where, job)
    assert made.manifest.key == job.key
    assert any("has ended meanwhile: nothing is asked for again" in event.facts.get("text", "") for event in heard)
    assert errand.name(2) not in sagemaker.boxes
    sagemaker.refuse = lambda asked: ("ResourceLimitExceeded", "The account-level service limit is 0 Instances")
    try:
        with pytest.raises(PlaceError, match=r"(?s)quota is used up .* ask for more under Service Quotas"):
            done(where, job)
    finally:
        sagemaker.refuse = lambda _: None


def test_what_is_longer_or_more_than_aws_takes_is_said_all_at_once(project: Project, training: Job) -> None:
    where = place(project)
    errand = Errand(where.site, training)
    asked = request(where, errand, "i" * 256, "-" * 64) | {"Environment": {"LONG": "x" * 513}, "RoleArn": "somebody"}
    asked["InputDataConfig"] *= 7
    said = "\n".join(Aws(REGION).faults("sagemaker", "create_training_job", asked))
    for fault in (
        "TrainingJobName: 64 characters, and AWS takes 63",
        "TrainingJobName: '------------------------------------------------------------' is not what AWS takes",
        "AlgorithmSpecification.TrainingImage: 256 characters, and AWS takes 255",
        "InputDataConfig: 21 entries, and AWS takes 20",
        "Environment.LONG: 513 characters, and AWS takes 512",
        "RoleArn: 8 characters, and AWS wants 20",
    ):
        assert fault in said


def test_names_of_jobs_fit_however_long_the_product_is_called_and_differ_between_stores(project: Project, training: Job) -> None:
    project.edit("name: tiny", f"name: {'long-' * 7}by")
    long = project.spec.rename(project.folder / f"{'long-' * 7}by.yaml")
    site = load(long).place("model").site  # type: ignore[attr-defined]
    names = {Errand(site, job).name(number) for number in (1, 99) for job in (training, elsewhere(training, "other"))}
    assert len(names) == 4
    assert all(len(name) <= 63 and name.startswith(f"{'long-' * 7}by-local-") for name in names), names


def test_a_secret_in_a_line_reaches_neither_the_log_nor_dagster(
    tmp_path: Path, training: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_TOKEN", "hunter2-hunter2")
    heard: list[Any] = []
    handler = Passing(SimpleNamespace(handle_message=heard.append), "model")
    log = tmp_path / "log"
    with log.open("w") as file:
        talk = Talk(replace(training, options={"token": "${secret.MODEL_TOKEN}"}), None, log, file, handler=handler)
        message = {"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "it is hunter2-hunter2"}}
        for line in (
            "said hunter2-hunter2",
            json.dumps(message),
            json.dumps(message)[:-1],
            f"{FAILED}no hunter2-hunter2",
            "at all",
        ):
            talk.hear(line)
    assert [each["params"]["message"] for each in heard] == ["it is ***"]
    assert "hunter2" not in log.read_text() + talk.failure
    assert talk.failure == "no ***\nat all"
    assert log.read_text().splitlines()[1].startswith('{"__dagster_pipes_version"'), "a torn message is a line like any other"


HUB = "model:\n  base: {hub: acme/base, revision: " + "ab" * 20 + "%s}\n  method: lora\n  training: {epochs: 1}\n"


@pytest.mark.parametrize(
    ("base", "places", "fault"),
    [
        (", token: '${secret.HF_TOKEN}'", "{model: sagemaker}", "given no secret (model.base.token)"),
        ("", "{model: {sagemaker: {network_isolation: true}}}", "fetched by the job, which could reach nothing"),
        ("", "{onnx: {sagemaker: {instance: ml.p4d.24xlarge}}}", "processing jobs have no ml.p4d.24xlarge"),
        ("", "{onnx: {sagemaker: {spot: true}}}", "spot has no effect on onnx"),
    ],
)
def test_what_a_job_cannot_have_there_is_refused_by_validate(tmp_path: Path, base: str, places: str, fault: str) -> None:
    start, end = TINY.index("features:"), TINY.index("evaluation:")
    text = TINY[:start] + HUB % base + TINY[end:] + f"store: s3://shop/bots\nregion: eu-central-1\nplaces: {places}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "tiny.yaml")
    assert fault in str(caught.value)


def test_a_failing_job_gives_the_works_own_reason_and_its_page(project: Project, sagemaker: SageMaker, training: Job) -> None:
    wrong = {"model": ASKED | {"base": {"path": "base"}, "adapter": {"modules": ["no_such_layer"]}}}
    job = replace(training, options=wrong, keyed=wrong)
    job = replace(job, output=training.output.replace(training.key, job.key))
    with pytest.raises(PlaceError) as caught:
        done(place(project), job)
    said = str(caught.value)
    assert "no linear layer 'no_such_layer'" in said
    assert f"#/jobs/{Errand(place(project).site, job).name(1)}" in said
    assert "Traceback" in Path(caught.value.log).read_text(), "and the whole story is in the log"
    assert open_artifact(shelf_at(job.output, Path())) is None


def test_an_input_that_a_job_finds_damaged_is_set_aside_so_that_apply_makes_it_again(
    project: Project, training: Job, aws: "Moto", foundation: Foundation
) -> None:
    folder = Path(training.inputs["features"].uri)
    files = {name: File(sha256_of(folder / name), (folder / name).stat().st_size) for name in files_in(folder)}
    manifest = Manifest("tiny", "features", "k", content_digest(files), "tokenize_hf", 1, {}, {}, {}, files, {})
    features = shelf_at(f"s3://{foundation.bucket}/bots/tiny/features/k", Path())
    features.put(folder, files, manifest.to_json())
    name = max(files, key=lambda name: files[name].bytes)
    aws.s3.put_object(Bucket=foundation.bucket, Key=f"bots/tiny/features/k/{name}", Body=b"?" * files[name].bytes)
    job = replace(training, inputs=training.inputs | {"features": Input(features.uri, manifest.digest)})
    job = replace(job, output=training.output.replace(training.key, job.key))
    with pytest.raises(DamagedError, match=name):
        done(place(project), job)
    assert open_artifact(features) is None


def test_what_is_not_there_is_said_before_anything_is_sent(
    project: Project, training: Job, aws: "Moto", foundation: Foundation
) -> None:
    job = elsewhere(training, "bare")
    project.edit("/bots", "/bare")
    site = load(project.spec).place("model").site
    with pytest.raises(PlaceError, match="tiny has no foundation at local"):
        done(place(project), job)
    empty = boto3.client("ecr", REGION).create_repository(repositoryName="tiny-bare-training")["repository"]["repositoryUri"]
    site.found(foundation.outputs | {"repositories": {"training": empty}})
    with pytest.raises(PlaceError, match=r"the training image of this source is not there: .*\n  build it: llmspec apply"):
        done(place(project), job)
    site.found(foundation.outputs | {"bucket": "another"})
    with pytest.raises(PlaceError, match="the foundation was built for s3://another"):
        done(place(project), job)
    assert not aws.keys(foundation.bucket, "bare/tiny/jobs/")


@pytest.fixture
def shop(stocked: Project, aws_here: "Moto", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, in a folder of its own."""
    made = stocked.copy(tmp_path / "shop")
    monkeypatch.setenv("LLMSPEC_HOME", str(made.folder / ".llmspec"))
    return made


def begun(shop: Project) -> "subprocess.Popen[str]":
    """An apply that is not waited for."""
    out = subprocess.PIPE
    command = shop.command("apply", "tiny.yaml", "--yes", "--select", "model")
    return subprocess.Popen(command, cwd=shop.folder, env=shop.environment(), stdout=out, stderr=subprocess.STDOUT, text=True)


def trains(shop: Project, sagemaker: SageMaker) -> Box:
    """The model's job, once its training has got somewhere."""
    box = sagemaker.job(Errand(place(shop).site, Product.open(shop.spec).stage("model").job).name(1))
    eventually(lambda: list(box.root.glob("*/ml/checkpoints/*/checkpoint/last.pt")) or box.ended, 90)
    assert not box.ended, box.more
    return box


def noted(shop: Project, text: str) -> bool:
    """Whether a log of the model's job says so."""
    return any(text in path.read_text() for path in (shop.folder / ".llmspec" / "logs" / "tiny").glob("model-*.log"))


def test_whoever_kills_an_apply_pays_for_no_second_job_and_whoever_interrupts_one_goes_on_from_its_checkpoint(
    shop: Project, sagemaker: SageMaker, aws: "Moto", foundation: Foundation
) -> None:
    before = set(sagemaker.boxes)
    sagemaker.room.clear()
    apply = begun(shop)
    eventually(lambda: set(sagemaker.boxes) - before, 60)
    apply.kill()
    apply.communicate()
    again = begun(shop)
    eventually(lambda: noted(shop, "runs already: nothing is asked for again") or again.poll() is not None, 60)
    sagemaker.room.set()
    box = trains(shop, sagemaker)
    assert set(sagemaker.boxes) - before == {box.name}, "the job is not the client's child"
    again.send_signal(signal.SIGINT)
    said, _ = again.communicate(timeout=30)
    assert again.returncode not in (0, -signal.SIGINT), said
    assert "runs already: nothing is asked for again" in said
    eventually(lambda: box.ended, 30)
    assert box.status == "Stopped"
    shop.run("apply", "tiny.yaml", "--yes", "--select", "model")
    assert sagemaker.job(f"{box.name[:-1]}2").status == "Completed"
    assert noted(shop, "going on from the checkpoint")
    for stage in ("data", "features", "model"):
        found = [key for key in aws.keys(foundation.bucket, f"bots/tiny/{stage}/") if key.endswith("manifest.json")]
        assert {aws.s3.head_object(Bucket=foundation.bucket, Key=key)["ServerSideEncryption"] for key in found} == {"aws:kms"}
    assert shop.actions("--select", "model")["model"] == "reuse"
