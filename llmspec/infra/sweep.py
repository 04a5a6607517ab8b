"""What carries our tags in AWS and is in no stack: what a killed apply left, what was kept, what a job left behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmspec.errors import PlaceError


@dataclass(frozen=True)
class Stray:
    """One resource that nobody looks after."""

    arn: str
    tags: Mapping[str, str]

    @property
    def kind(self) -> str:
        """`sagemaker:model`."""
        _, _, service, _, _, rest = self.arn.split(":", 5)
        return f"{service}:{rest.split('/')[0].split(':')[0]}" if service != "s3" else "s3:bucket"

    @property
    def cure(self) -> str:
        """The command that removes it, where one line does; the console's place for it otherwise."""
        name = self.arn.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        commands = {
            "s3:bucket": f"aws s3 rb --force s3://{name}",
            "kms:key": f"aws kms schedule-key-deletion --key-id {name}",
            "iam:role": f"aws iam delete-role --role-name {name}",
            "sagemaker:model": f"aws sagemaker delete-model --model-name {name}",
            "sagemaker:endpoint-config": f"aws sagemaker delete-endpoint-config --endpoint-config-name {name}",
            "sagemaker:endpoint": f"aws sagemaker delete-endpoint --endpoint-name {name}",
            "logs:log-group": f"aws logs delete-log-group --log-group-name {self.arn.split(':log-group:')[-1].removesuffix(':*')}",
            "ecr:repository": f"aws ecr delete-repository --force --repository-name {self.arn.partition('repository/')[2]}",
            "sns": f"aws sns delete-topic --topic-arn {self.arn}",
        }
        return commands.get(self.kind, commands.get(self.kind.split(":")[0], "AWS console: Resource Groups, Tag Editor"))

    def to_dict(self) -> dict[str, Any]:
        return {"arn": self.arn, "kind": self.kind, "tags": dict(self.tags), "cure": self.cure}


def strays(tags: Mapping[str, str], region: str, held: Iterable[str]) -> list[Stray]:
    """Asked of AWS's index of tags, which knows the resources of one region, and some minutes late."""
    known = set(held)
    return [stray for stray in _tagged(tags, region) if stray.arn not in known]


def _tagged(tags: Mapping[str, str], region: str) -> Iterable[Stray]:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise PlaceError("boto3 is not installed\n  pip install 'llmspec[aws]'") from error
    filters = [{"Key": name, "Values": [value]} for name, value in tags.items()]
    try:
        pages = boto3.client("resourcegroupstaggingapi", region_name=region).get_paginator("get_resources")
        for page in pages.paginate(TagFilters=filters):
            for each in page["ResourceTagMappingList"]:
                yield Stray(each["ResourceARN"], {tag["Key"]: tag["Value"] for tag in each["Tags"]})
    except (BotoCoreError, ClientError) as error:
        raise PlaceError(f"AWS's index of tags cannot be asked: {error}\n  who sweeps needs tag:GetResources") from error
