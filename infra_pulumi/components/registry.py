"""registry: where images lie, and what builds them, so that nobody needs Docker."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.logs import Logs
from infra_pulumi.components.storage import Storage
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

IMAGES = ("serving", "training")
GUESTS = {"serving": "lambda", "training": "emr-serverless"}
"""Who fetches an image by itself."""


def repository_names(owner: Owner) -> dict[str, str]:
    """`serving` -> `support-bot-prod-serving`."""
    return {image: f"{owner.prefix}-{image}" for image in IMAGES}


@dataclass(frozen=True)
class RegistryArgs:
    """How images are built and how long they are kept."""

    bundle: str = "code/images.zip"
    """Where a build looks that names no source, in the product's folder. `apply` names the bundle of its own source."""
    buildspec: str = "containers/buildspec.yml"
    """The build's steps, in the bundle. They read $SERVING_REPOSITORY or $TRAINING_REPOSITORY, and $TAG."""
    machine: str = "BUILD_GENERAL1_LARGE"
    """CodeBuild's size of machine, paid by the minute of a build."""
    build_minutes: int = 60
    keep: bool = False
    """`destroy` leaves the images. They can be built again from the bundle."""
    keep_images: int = 20
    """The latest so many of each are kept; a rollback reaches no further."""
    spark: bool = False
    """Also what Spark at EMR unpacks, beside the bundle: it is built with the training image."""


class Registry(pulumi.ComponentResource):
    """A tag, once given, names the same image for ever."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: RegistryArgs,
        keys: Keys,
        logs: Logs,
        storage: Storage,
        builder: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Registry", "registry", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self._keys, self._logs, self._builder = keys, logs, builder
        self._bundle = pulumi.Output.concat(storage.store.name, f"/{storage.product}{args.bundle}")
        self._code = pulumi.Output.concat("s3://", storage.store.name, f"/{storage.product}code")
        self._opts = pulumi.ResourceOptions(parent=self)
        self.repositories = {image: self._repository(image, name) for image, name in repository_names(owner).items()}
        self.projects = {image: self._project(image, repository) for image, repository in self.repositories.items()}
        self.register_outputs({image: repository.repository_url for image, repository in self.repositories.items()})

    def _repository(self, image: str, name: str) -> aws.ecr.Repository:
        repository = aws.ecr.Repository(
            f"image-{image}",
            name=name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": self._keys.data.arn}],
            force_delete=not self._args.keep,
            tags=self._owner.tagged("registry"),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=self._args.keep),
        )
        self._let_in(image, repository)
        aws.ecr.LifecyclePolicy(
            f"image-{image}",
            repository=repository.name,
            policy=pulumi.Output.json_dumps({"rules": [_latest(self._args.keep_images)]}),
            opts=self._opts,
        )
        return repository

    def _let_in(self, image: str, repository: aws.ecr.Repository) -> None:
        """Lambda and EMR fetch images themselves, not with a role of ours."""
        service = GUESTS[image]
        runs = self._account.arn("emr-serverless", "/applications/*")
        source = {"ArnLike": {"aws:SourceArn": self._account.functions(self._owner.prefix) if service == "lambda" else [runs]}}
        pull = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:DescribeImages")
        statement = Statement(pull, conditions=source, principals={"Service": f"{service}.amazonaws.com"})
        aws.ecr.RepositoryPolicy(f"image-{image}", repository=repository.name, policy=document(statement), opts=self._opts)

    def _project(self, image: str, repository: aws.ecr.Repository) -> aws.codebuild.Project:
        return aws.codebuild.Project(
            f"build-{image}",
            name=f"{self._owner.prefix}-{image}",
            description=f"Builds the {image} image from the source bundle",
            service_role=self._builder,
            source={"type": "S3", "location": self._bundle, "buildspec": self._args.buildspec},
            artifacts={"type": "NO_ARTIFACTS"},
            environment=self._machine(image, repository),
            encryption_key=self._keys.data.arn,
            build_timeout=self._args.build_minutes,
            concurrent_build_limit=1,
            logs_config={"cloudwatch_logs": {"group_name": self._logs.groups["build"].name, "stream_name": image}},
            tags=self._owner.tagged("registry"),
            opts=self._opts,
        )

    def _machine(self, image: str, repository: aws.ecr.Repository) -> aws.codebuild.ProjectEnvironmentArgsDict:
        return {
            "type": "LINUX_CONTAINER",
            "compute_type": self._args.machine,
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
            # Docker builds inside the build's own container.
            "privileged_mode": True,
            # Who starts a build adds $TAG, which holds the digest of the bundle: the same source is built once.
            "environment_variables": [
                {"name": f"{image.upper()}_REPOSITORY", "value": repository.repository_url},
                *self._archives(image),
            ],
        }

    def _archives(self, image: str) -> list[aws.codebuild.ProjectEnvironmentEnvironmentVariableArgsDict]:
        wanted = self._args.spark and image == "training"
        return [{"name": "SPARK_ARCHIVES", "value": self._code}] if wanted else []


def _latest(number: int) -> dict[str, object]:
    which = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": number}
    return {"rulePriority": 1, "description": "The latest ones", "selection": which, "action": {"type": "expire"}}
