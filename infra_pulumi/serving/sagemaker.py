"""sagemaker: model -> endpoint configuration -> endpoint, as a real-time, an asynchronous or a serverless endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.alarms import rollback_alarms
from infra_pulumi.names import fitted
from infra_pulumi.serving.guardrails import guardrails
from infra_pulumi.serving.sagemaker_configuration import OUTLIVES, configuration, immutable_name, settings
from infra_pulumi.serving.sagemaker_signals import health, signals
from infra_pulumi.serving.scaling import scale_instances
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import FIRST, PlaceArgs, Release, Serving

PATHS = {"realtime": "openai/v1", "async": "async-invocations", "serverless": "invocations"}
"""Real-time endpoints speak OpenAI's API; the others take SageMaker's own calls."""


@dataclass(frozen=True)
class SagemakerArgs(PlaceArgs):
    """`places: {endpoint: {sagemaker: …}}`."""

    form: Literal["realtime", "async", "serverless"] = "realtime"
    instance: str = ""
    """`ml.g5.xlarge`; the serverless form has none."""
    memory_mb: int = 0
    """Of a serverless copy: 1024 to 6144, in steps of 1024."""
    capture_percent: int = 0
    """How much of what is asked and answered SageMaker itself writes to S3. The journal is apart from it."""
    isolated: bool | None = None
    """No way out of the container: the artifact is there, and nothing else is needed. Absent: wherever SageMaker can."""

    @property
    def stands(self) -> bool:
        return self.form != "serverless"

    @property
    def isolates(self) -> bool:
        return self.form != "serverless" if self.isolated is None else self.isolated


def sagemaker(wanted: Serving, place: SagemakerArgs) -> Served:
    """The endpoint, its alarms, its scaling."""
    name = fitted(wanted.owner.prefix, 63)
    models = {side: _model(wanted, place, side, variant.release) for side, variant in wanted.sides().items()}
    configured = configuration(wanted, place, models)
    found = signals(wanted, name)
    logs = _logs(wanted, name)
    alarms = rollback_alarms(wanted, found) if place.form != "serverless" else []
    endpoint = _endpoint(wanted, place, name, configured, [logs, *alarms])
    _scale(wanted, place, endpoint, models)
    host = f"https://runtime.sagemaker.{wanted.owner.region}.amazonaws.com/endpoints/"
    return Served(
        url=pulumi.Output.concat(host, endpoint.name, "/", PATHS[place.form]),
        names={
            "endpoint": endpoint.name,
            "configuration": configured.name,
            "models": {side: model.name for side, model in models.items()},
        },
        signals=found,
        health=health(name, next(iter(models))),
        log_group=logs.name,
        rollback=alarms,
    )


def _model(wanted: Serving, place: SagemakerArgs, side: str, release: Release) -> aws.sagemaker.Model:
    """An immutable thing: its name says which release, and the digest what exactly. A release that goes over to another side
    is made there while it is still here, so what stands beside the first is another thing by name."""
    ground = wanted.ground
    network = aws.sagemaker.ModelVpcConfigArgs(
        subnets=list(ground.subnet_ids)[: wanted.scale.zones], security_group_ids=list(ground.security_group_ids)
    )
    inside = None if place.form == "serverless" else network
    content = [release.digest, release.image, release.archive, settings(release), place.isolates, wanted.scale.zones]
    beside = [] if side == FIRST else [side]
    return aws.sagemaker.Model(
        f"model-{side}",
        name=immutable_name(wanted.owner, release.number, content + beside),
        execution_role_arn=ground.endpoint_role_arn,
        enable_network_isolation=place.isolates,
        primary_container=_container(place, release),
        vpc_config=inside,
        tags=wanted.owner.tagged("endpoint", release.number),
        opts=OUTLIVES,
    )


def _container(place: SagemakerArgs, release: Release) -> aws.sagemaker.ModelPrimaryContainerArgs:
    """Serverless takes an archive, the others the artifact's own folder: nothing to unpack before the first answer."""
    environment = settings(release)
    if place.form == "serverless":
        return aws.sagemaker.ModelPrimaryContainerArgs(image=release.image, model_data_url=release.archive, environment=environment)
    source = aws.sagemaker.ModelPrimaryContainerModelDataSourceS3DataSourceArgs(
        s3_uri=release.artifact, s3_data_type="S3Prefix", compression_type="None"
    )
    data = aws.sagemaker.ModelPrimaryContainerModelDataSourceArgs(s3_data_sources=[source])
    return aws.sagemaker.ModelPrimaryContainerArgs(image=release.image, model_data_source=data, environment=environment)


def _logs(wanted: Serving, endpoint: str) -> aws.cloudwatch.LogGroup:
    """SageMaker would make it itself, without an end to its keeping."""
    name = f"/aws/sagemaker/Endpoints/{endpoint}"
    return aws.cloudwatch.LogGroup("endpoint-logs", name=name, retention_in_days=wanted.log_days, tags=wanted.tags())


def _endpoint(
    wanted: Serving,
    place: SagemakerArgs,
    name: str,
    configured: aws.sagemaker.EndpointConfiguration,
    first: Sequence[pulumi.Resource],
) -> aws.sagemaker.Endpoint:
    """Its alarms come first: a rollout that watches one which is not there yet is refused. So does its log group, which goes last:
    while a copy prints, a group that is gone is made anew by SageMaker, for ever and in no stack."""
    alarms = [each for each in first if isinstance(each, aws.cloudwatch.MetricAlarm)]
    return aws.sagemaker.Endpoint(
        "endpoint",
        name=name,
        endpoint_config_name=configured.name,
        deployment_config=None if place.form == "serverless" else guardrails(wanted.rollout, alarms),
        tags=wanted.tags(),
        opts=pulumi.ResourceOptions(depends_on=list(first)),
    )


def _scale(
    wanted: Serving, place: SagemakerArgs, endpoint: aws.sagemaker.Endpoint, models: Mapping[str, aws.sagemaker.Model]
) -> None:
    if place.form == "serverless" or wanted.scale.max <= wanted.scale.min:
        return
    for side in models:
        scale_instances(wanted, endpoint, side, waits=place.form == "async")
