"""What the tests of jobs at ECS and EMR share: a foundation as it would have been recorded, and a job through Dagster."""

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import dagster as dg
from conftest import Project
from serving_parts import eventually

from llmspec.card import Place
from llmspec.infra import build
from llmspec.job import Job
from llmspec.load import load
from llmspec.progress import Event, listening
from llmspec.shelf import shelf_at
from llmspec.store import Artifact, open_artifact

if TYPE_CHECKING:
    from moto_parts import Moto

REGION = "eu-central-1"
"""Of moto's server in tests."""


def client(aws: "Moto", service: str) -> Any:
    return boto3.client(service, REGION, endpoint_url=aws.url, aws_access_key_id="testing", aws_secret_access_key="testing")


def ground(aws: "Moto", target: str) -> dict[str, Any]:
    """What a foundation's stack would have made and told, for one bucket."""
    iam, ecr, kms, ec2 = (client(aws, name) for name in ("iam", "ecr", "kms", "ec2"))
    roles = {
        kind: iam.create_role(RoleName=f"tiny-{target}-{kind}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        for kind in ("data", "training", "evaluation")
    }
    repository = ecr.create_repository(repositoryName=f"tiny-{target}-training")["repository"]
    manifest = {"schemaVersion": 2, "config": {"digest": f"sha256:{1:064}"}, "layers": []}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    name = repository["repositoryName"]
    ecr.put_image(
        repositoryName=name, imageManifest=json.dumps(manifest), imageManifestMediaType=kind, imageTag=build.training().tag
    )
    vpc = ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.42.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)]
    return {
        "bucket": aws.bucket(),
        "data_key": kms.create_key()["KeyMetadata"]["Arn"],
        "logs_key": kms.create_key()["KeyMetadata"]["Arn"],
        "roles": roles,
        "log_groups": {kind: f"/llmspec/tiny-{target}/{kind}" for kind in roles},
        "repositories": {"training": repository["repositoryUri"]},
        "build_projects": {"training": name},
        "private_subnets": subnets,
        "work_security_group": ec2.create_security_group(GroupName=target, Description="work", VpcId=vpc)["GroupId"],
    }


@dataclass(frozen=True)
class Done:
    """What came of a job."""

    artifact: Artifact
    heard: list[Event]
    """By a terminal."""
    shown: list[str]
    """By Dagster."""


def done(where: Place, job: Job) -> Done:
    """Through Dagster, as an apply does it."""
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
    return Done(made.verify(), heard, shown)


def place(project: Project, stage: str, **options: Any) -> Any:
    """As the spec has it, or with other options."""
    found = load(project.spec).place(stage)
    return type(found)(**options).at(found.site) if options else found


def begun(project: Project, *words: str) -> "subprocess.Popen[str]":
    """An apply that is not waited for."""
    out = subprocess.PIPE
    command = project.command("apply", "tiny.yaml", "--yes", *words)
    return subprocess.Popen(command, cwd=project.folder, env=project.environment(), stdout=out, stderr=subprocess.STDOUT, text=True)


def killed_and_again(project: Project, cloud: Any) -> str:
    """The client is killed while the job waits for its machine, and applies again. What the second one said."""
    cloud.held.clear()
    before = len(cloud.boxes)
    apply = begun(project, "--select", "data")
    eventually(lambda: len(cloud.boxes) > before, 60)
    apply.send_signal(signal.SIGKILL)
    apply.wait()
    again = begun(project, "--select", "data")
    eventually(lambda: noted(project, "runs already"), 60)
    cloud.held.set()
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert len(cloud.boxes) == before + 1, "one job, paid once"
    return said


def interrupted(project: Project, cloud: Any) -> str:
    """Ctrl-C as soon as the job was asked for, when the answer is hardly here. What was said."""
    cloud.held.clear()
    before = len(cloud.boxes)
    apply = begun(project, "--select", "data")
    eventually(lambda: len(cloud.boxes) > before, 60)
    apply.send_signal(signal.SIGINT)
    said, _ = apply.communicate(timeout=60)
    cloud.held.set()
    assert apply.returncode == 130, said
    return said


def noted(project: Project, text: str) -> bool:
    """Whether the client has come so far."""
    return any(text in log.read_text() for log in project.folder.glob(".llmspec/logs/tiny/data-*.log"))
