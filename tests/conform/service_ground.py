"""What the programs beside this one stand on: the little of a foundation that a service stack refers to, and a few releases."""

import json
from typing import Any

import pulumi_aws as aws

from infra_pulumi.owner import Owner
from infra_pulumi.serving.wanted import Alarm, Ground, Monitors, Notify, PlaceArgs, Release, Serving

OWNER = Owner("bot", "prod", "us-east-1", {"cost-center": "cx-42"})
TRUST = {
    "Effect": "Allow",
    "Action": "sts:AssumeRole",
    "Principal": {"Service": ["sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com"]},
}


def ground() -> Ground:
    """Real resources, so that the provider sees references and not only text."""
    vpc = aws.ec2.Vpc("ground", cidr_block="10.42.0.0/16")
    subnets = [
        aws.ec2.Subnet(f"ground-{zone}", vpc_id=vpc.id, cidr_block=f"10.42.{index}.0/24", availability_zone=f"us-east-1{zone}")
        for index, zone in enumerate("ab")
    ]
    group = aws.ec2.SecurityGroup("ground", vpc_id=vpc.id, description="Jobs and endpoints")
    key, log_key = (aws.kms.Key(f"ground-{name}", description=name) for name in ("data", "logs"))
    role = aws.iam.Role("ground", name="ground", assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]}))
    logs = {name: aws.cloudwatch.LogGroup(f"ground-{name}", name=f"/llmspec/bot-prod/{name}") for name in ("endpoint", "monitors")}
    return Ground(
        key_arn=key.arn,
        log_key_arn=log_key.arn,
        endpoint_role_arn=role.arn,
        vpc_id=vpc.id,
        cidr="10.42.0.0/16",
        subnet_ids=[subnet.id for subnet in subnets],
        security_group_ids=[group.id],
        doors_group_id=group.id,
        repository_arn=aws.ecr.Repository("ground", name="bot-prod-serving").arn,
        log_group=logs["endpoint"].name,
        monitors_log_group=logs["monitors"].name,
        capture="s3://acme-llm/bot/capture",
        user_pool_arn=aws.cognito.UserPool("ground", name="bot-prod").arn,
    )


def release(number: int) -> Release:
    return Release(
        number,
        artifact=f"s3://acme-llm/bot/onnx/key{number}/",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/bot-prod-serving:1",
        digest=f"{number:064x}",
        environment={"LLMSPEC_RELEASE": f"packed-{number}"},
        archive=f"s3://acme-llm/bot/onnx/key{number}.tar.gz",
    )


MONITORS = Monitors(
    alarms=(
        Alarm("p95_latency", ">", 1.0, 300),
        Alarm("error_rate", ">", 0.01),
        Alarm("drift", ">", 0.2),
        Alarm("canary.token_f1", "<", 0.75),
    ),
    notify=Notify(email="oncall@acme.example", webhook="https://chat.example/secret"),
)


def serving(place: PlaceArgs, **more: Any) -> Serving:
    return Serving(**{"owner": OWNER, "release": release(13), "place": place, "ground": ground(), "monitors": MONITORS, **more})
