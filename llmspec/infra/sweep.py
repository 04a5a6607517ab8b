"""What carries our tags in AWS and is in no stack: what a killed apply left, what was kept, what a job left behind."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmspec.errors import PlaceError

JOBS: Mapping[str, tuple[str, str, str]] = {
    "sagemaker:training-job": ("list_training_jobs", "TrainingJobSummaries", "TrainingJobArn"),
    "sagemaker:processing-job": ("list_processing_jobs", "ProcessingJobSummaries", "ProcessingJobArn"),
}
"""Kinds of job at SageMaker -> how it is asked which of them run."""
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
"""States of a run at EMR Serverless; in any other it costs."""
TAGS = "resourcegroupstaggingapi"
"""AWS's index of tags. A policy calls it `tag`."""
GONE = ("ClusterNotFoundException", "ResourceNotFoundException")
"""Where the cluster or the application is gone, nothing runs in it."""


@dataclass(frozen=True)
class Stray:
    """One resource that nobody looks after."""

    arn: str
    tags: Mapping[str, str]

    @property
    def parts(self) -> list[str]:
        """What the ARN says within its service: `task`, cluster, number."""
        return [part for part in self.arn.split(":", 5)[5].replace(":", "/").split("/") if part]

    @property
    def kind(self) -> str:
        """`sagemaker:model`, `emr-serverless:jobruns`."""
        service = self.arn.split(":")[2]
        if service == "s3":
            return "s3:bucket"
        return f"{service}:{self.parts[-2 if service == 'emr-serverless' else 0]}"

    @property
    def cure(self) -> str:
        """The command that removes it, where one line does; the console's place for it otherwise."""
        name = self.arn.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        within = self.parts[1] if len(self.parts) > 1 else ""
        commands = {
            "s3:bucket": f"aws s3 rb --force s3://{name}",
            "kms:key": f"aws kms schedule-key-deletion --key-id {name}",
            "iam:role": f"aws iam delete-role --role-name {name}",
            "sagemaker:model": f"aws sagemaker delete-model --model-name {name}",
            "sagemaker:endpoint-config": f"aws sagemaker delete-endpoint-config --endpoint-config-name {name}",
            "sagemaker:endpoint": f"aws sagemaker delete-endpoint --endpoint-name {name}",
            "sagemaker:training-job": f"aws sagemaker stop-training-job --training-job-name {name}",
            "sagemaker:processing-job": f"aws sagemaker stop-processing-job --processing-job-name {name}",
            "ecs:task": f"aws ecs stop-task --cluster {within} --task {name}",
            "emr-serverless:jobruns": f"aws emr-serverless cancel-job-run --application-id {within} --job-run-id {name}",
            "ecs:task-definition": f"aws ecs deregister-task-definition --task-definition {':'.join(self.parts[1:])}",
            "logs:log-group": f"aws logs delete-log-group --log-group-name {self.arn.split(':log-group:')[-1].removesuffix(':*')}",
            "ecr:repository": f"aws ecr delete-repository --force --repository-name {self.arn.partition('repository/')[2]}",
            "sns": f"aws sns delete-topic --topic-arn {self.arn}",
        }
        return commands.get(self.kind, commands.get(self.kind.split(":")[0], "AWS console: Resource Groups, Tag Editor"))

    def to_dict(self) -> dict[str, Any]:
        return {"arn": self.arn, "kind": self.kind, "tags": dict(self.tags), "cure": self.cure}


def strays(tags: Mapping[str, str], region: str, held: Iterable[str]) -> list[Stray]:
    """Asked of AWS's index of tags, which knows the resources of one region, and some minutes late.

    A job that has ended is no stray: AWS keeps its record, which costs nothing and explains the bill.
    """
    known = set(held)
    found = [stray for stray in _tagged(tags, region) if stray.arn not in known]
    ended = _jobs(found) - _running(found, region)
    return [stray for stray in found if stray.arn not in ended]


def _tagged(tags: Mapping[str, str], region: str) -> Iterator[Stray]:
    filters = [{"Key": name, "Values": [value]} for name, value in tags.items()]
    for each in _pages(TAGS, "get_resources", "ResourceTagMappingList", region, TagFilters=filters):
        yield Stray(each["ResourceARN"], {tag["Key"]: tag["Value"] for tag in each["Tags"]})


def _jobs(found: list[Stray]) -> set[str]:
    return {stray.arn for stray in found if stray.kind in (*JOBS, "ecs:task", "emr-serverless:jobruns")}


def _running(found: list[Stray], region: str) -> set[str]:
    """Which jobs have not ended; each service is asked only where something of it was found."""
    running: set[str] = set()
    for kind in {stray.kind for stray in found} & set(JOBS):
        verb, items, arn = JOBS[kind]
        running |= {each[arn] for each in _pages("sagemaker", verb, items, region, StatusEquals="InProgress")}
    for cluster in {stray.parts[1] for stray in found if stray.kind == "ecs:task"}:
        running |= set(_pages("ecs", "list_tasks", "taskArns", region, cluster=cluster, desiredStatus="RUNNING"))
    for application in {stray.parts[1] for stray in found if stray.kind == "emr-serverless:jobruns"}:
        runs = _pages("emr-serverless", "list_job_runs", "jobRuns", region, applicationId=application)
        running |= {each["arn"] for each in runs if each["state"] not in ENDED}
    return running


def _pages(service: str, verb: str, items: str, region: str, **asked: Any) -> Iterator[Any]:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise PlaceError("boto3 is not installed\n  pip install 'llmspec[aws]'") from error
    try:
        for page in boto3.client(service, region_name=region).get_paginator(verb).paginate(**asked):
            yield from page[items]
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE:
            return
        action = verb.title().replace("_", "")
        needs = f"{'tag' if service == TAGS else service}:{action}"
        raise PlaceError(f"AWS cannot be asked what carries our tags: {error}\n  who sweeps needs {needs}") from error
