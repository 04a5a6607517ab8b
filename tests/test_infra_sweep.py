"""What is found by our tags and looked after by no stack: asked of moto over HTTP."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto_parts import REGION, Moto, aws, aws_here

from llmspec.errors import PlaceError
from llmspec.infra.sweep import Stray, strays

__all__ = ["aws", "aws_here"]
pytestmark = pytest.mark.aws
TAGS = {"llmspec:name": "bot", "llmspec:target": "prod"}
ECS_TAGS: Any = [{"key": name, "value": value} for name, value in TAGS.items()]


def started() -> tuple[Any, str, str]:
    """ECS, the ARN of a task on a cluster of its own, and of its definition; both carry our tags."""
    ec2, ecs = (boto3.client(service, region_name=REGION) for service in ("ec2", "ecs"))
    ecs.create_cluster(clusterName="bots")
    work = [{"name": "work", "image": "bots:1", "memory": 512}]
    registered = ecs.register_task_definition(
        family="bot-prod-features", containerDefinitions=work, tags=ECS_TAGS, cpu="256", memory="512", networkMode="awsvpc"
    )
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="work", Description="work", VpcId=vpc)["GroupId"]
    definition = registered["taskDefinition"]["taskDefinitionArn"]
    where = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}}
    asked = ecs.run_task(cluster="bots", taskDefinition=definition, launchType="FARGATE", networkConfiguration=where, tags=ECS_TAGS)
    return ecs, asked["tasks"][0]["taskArn"], definition


def cures() -> dict[str, str]:
    return {stray.arn: stray.cure for stray in strays(TAGS, REGION, [])}


def test_a_task_is_a_stray_while_it_runs_and_its_definition_while_it_is_there(aws_here: Moto) -> None:
    ecs, task, definition = started()
    number = task.rsplit("/", 1)[-1]
    assert cures() == {
        task: f"aws ecs stop-task --cluster bots --task {number}",
        definition: "aws ecs deregister-task-definition --task-definition bot-prod-features:1",
    }
    assert [stray.arn for stray in strays(TAGS, REGION, [definition])] == [task]
    assert strays({**TAGS, "llmspec:target": "staging"}, REGION, []) == []
    ecs.stop_task(cluster="bots", task=task)
    assert set(cures()) == {definition}, "the record of what has ended is no stray"


def test_a_run_at_emr_is_named_with_its_application_and_one_whose_application_is_gone_has_ended(
    aws_here: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moto.emrserverless.models.JOB_STATUS", "RUNNING")  # its runs would all have ended at once
    emr = boto3.client("emr-serverless", region_name=REGION)
    made = emr.create_application(releaseLabel="emr-7.0.0", type="SPARK", name="bots")
    emr.start_application(applicationId=made["applicationId"])
    role = "arn:aws:iam::123456789012:role/data"
    run = emr.start_job_run(applicationId=made["applicationId"], executionRoleArn=role, clientToken="one", tags=TAGS)
    gone = run["arn"].replace(made["applicationId"], "0" * 16)
    # moto's index of tags knows nothing of EMR Serverless: what it would say is put in its place, the runs are asked of moto.
    index = "moto.resourcegroupstaggingapi.models.ResourceGroupsTaggingAPIBackend.get_resources"
    carry = [SimpleNamespace(arn=arn, tags=TAGS) for arn in (run["arn"], gone)]
    monkeypatch.setattr(index, lambda *_, **__: (None, carry))
    (found,) = strays(TAGS, REGION, [])
    assert found.kind == "emr-serverless:jobruns"
    asked = f"--application-id {made['applicationId']} --job-run-id {run['jobRunId']}"
    assert found.cure == f"aws emr-serverless cancel-job-run {asked}"
    emr.cancel_job_run(applicationId=made["applicationId"], jobRunId=run["jobRunId"])
    assert strays(TAGS, REGION, []) == []


def test_whoever_may_not_look_is_told_what_that_needs(aws_here: Moto) -> None:
    with (
        aws_here.gate.closed(lambda asked: asked.startswith("POST /")),
        pytest.raises(PlaceError, match="cannot be asked what carries our tags") as told,
    ):
        strays(TAGS, REGION, [])
    assert str(told.value).endswith("who sweeps needs tag:GetResources")
    started()
    index = iter(["POST /"])  # the first that is asked what there is; then ECS is asked what runs
    with aws_here.gate.closed(lambda asked: asked != next(index, "")), pytest.raises(PlaceError, match=r"needs ecs:ListTasks$"):
        strays(TAGS, REGION, [])


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        ("arn:aws:s3:::acme-models", "s3:bucket"),
        ("arn:aws:logs:eu-central-1:123456789012:log-group:/llmspec/bot-prod/data:*", "logs:log-group"),
        ("arn:aws:sagemaker:eu-central-1:123456789012:endpoint-config/bot-prod-r1-0a1b2c3d", "sagemaker:endpoint-config"),
    ],
)
def test_a_kind_is_read_from_the_arn(arn: str, kind: str) -> None:
    assert Stray(arn, {}).kind == kind
    assert json.loads(json.dumps(Stray(arn, TAGS).to_dict()))["cure"].startswith("aws ")
