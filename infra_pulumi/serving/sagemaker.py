"""sagemaker: model -> endpoint configuration -> endpoint, as a real-time, an asynchronous or a serverless endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra_pulumi.components.alarms import rollback_alarms
from infra_pulumi.names import fitted
from infra_pulumi.serving.guardrails import guardrails
from infra_pulumi.serving.sagemaker_signals import health, signals
from infra_pulumi.serving.scaling import scale_instances
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import PlaceArgs, Release, Serving, Variant
from llmspec.job import digest_of

Form = Literal["realtime", "async", "serverless"]
MODEL = "/opt/ml/model"
"""Where SageMaker puts the artifact, read-only."""
START_SECONDS = 600
"""A copy loads its artifact and compiles its grammars before it answers `/ping`."""


@dataclass(frozen=True)
class SagemakerArgs(PlaceArgs):
    """`places: {endpoint: {sagemaker: …}}`."""

    form: Form = "realtime"
    instance: str = ""
    """`ml.g5.xlarge`; the serverless form has none."""
    memory_mb: int = 0
    """Of a serverless copy: 1024 to 6144, in steps of 1024."""
    capture_percent: int = 0
    """How much of what is asked and answered SageMaker itself writes to S3. The journal is apart from it."""
    isolated: bool | None = None
    """No way out of the container: the artifact is there, and nothing else is needed. Absent: wherever SageMaker can."""

    @property
    def isolates(self) -> bool:
        return self.form != "serverless" if self.isolated is None else self.isolated


class Sagemaker:
    """What this stack makes at SageMaker, by its names."""

    def __init__(self, wanted: Serving, place: SagemakerArgs):
        self.wanted, self.place, self.ground = wanted, place, wanted.ground
        self.endpoint_name = fitted(wanted.owner.prefix, 63)
        self.models = {side: self._model(side, variant.release) for side, variant in wanted.sides().items()}
        self.configuration = self._configuration()

    def _model(self, side: str, release: Release) -> aws.sagemaker.Model:
        """An immutable thing: its name says which release, and the digest what exactly."""
        tags = self.wanted.owner.tagged("endpoint", release.number)
        network = None if self.place.form == "serverless" else self._network()
        return aws.sagemaker.Model(
            f"model-{side}",
            name=self._named(release.number, [release.digest, release.image, release.settings(MODEL), self.place.isolates]),
            execution_role_arn=self.ground.endpoint_role_arn,
            enable_network_isolation=self.place.isolates,
            primary_container=self._container(release),
            vpc_config=network,
            tags=tags,
        )

    def _container(self, release: Release) -> aws.sagemaker.ModelPrimaryContainerArgs:
        """Serverless takes an archive, the others the artifact's own folder: nothing to unpack before the first answer."""
        if self.place.form == "serverless":
            return aws.sagemaker.ModelPrimaryContainerArgs(
                image=release.image, model_data_url=release.archive, environment=release.settings(MODEL)
            )
        source = aws.sagemaker.ModelPrimaryContainerModelDataSourceS3DataSourceArgs(
            s3_uri=release.artifact, s3_data_type="S3Prefix", compression_type="None"
        )
        data = aws.sagemaker.ModelPrimaryContainerModelDataSourceArgs(s3_data_sources=[source])
        return aws.sagemaker.ModelPrimaryContainerArgs(
            image=release.image, model_data_source=data, environment=release.settings(MODEL)
        )

    def _network(self) -> aws.sagemaker.ModelVpcConfigArgs:
        subnets = list(self.ground.subnet_ids)[: self.wanted.scale.zones]
        return aws.sagemaker.ModelVpcConfigArgs(subnets=subnets, security_group_ids=list(self.ground.security_group_ids))

    def _configuration(self) -> aws.sagemaker.EndpointConfiguration:
        """Immutable too: any change gives it another name, so that the old one is there to go back to until the new one serves."""
        place = self.place
        variants = [self._variant(side, variant) for side, variant in self.wanted.sides().items()]
        capture, queue = self._capture(), self._queue()
        encrypted = None if place.form == "serverless" or has_local_disk(place.instance) else self.ground.key_arn
        return aws.sagemaker.EndpointConfiguration(
            "configuration",
            name=self._named(self.wanted.release.number, self._content()),
            production_variants=variants,
            data_capture_config=capture,
            async_inference_config=queue,
            kms_key_arn=encrypted,
            tags=self.wanted.tags(),
        )

    def _content(self) -> list[Any]:
        sides = self.wanted.sides().values()
        scale = self.wanted.scale
        releases = [[each.release.digest, each.release.image, each.release.settings(MODEL), each.weight] for each in sides]
        return [releases, vars(self.place), scale.min, scale.max, scale.concurrency_per_copy]

    def _variant(self, side: str, variant: Variant) -> aws.sagemaker.EndpointConfigurationProductionVariantArgs:
        scale, place, name = self.wanted.scale, self.place, self.models[side].name
        if place.form == "serverless":
            serverless = aws.sagemaker.EndpointConfigurationProductionVariantServerlessConfigArgs(
                memory_size_in_mb=place.memory_mb, max_concurrency=scale.max, provisioned_concurrency=scale.min or None
            )
            return aws.sagemaker.EndpointConfigurationProductionVariantArgs(
                variant_name=side, model_name=name, serverless_config=serverless, initial_variant_weight=variant.weight
            )
        routing = aws.sagemaker.EndpointConfigurationProductionVariantRoutingConfigArgs(
            routing_strategy="LEAST_OUTSTANDING_REQUESTS"
        )
        return aws.sagemaker.EndpointConfigurationProductionVariantArgs(
            variant_name=side,
            model_name=name,
            instance_type=place.instance,
            initial_instance_count=max(1, scale.min),
            initial_variant_weight=variant.weight,
            container_startup_health_check_timeout_in_seconds=START_SECONDS,
            model_data_download_timeout_in_seconds=START_SECONDS,
            routing_configs=[routing] if place.form == "realtime" else None,
        )

    def _capture(self) -> aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs | None:
        if not self.place.capture_percent:
            return None
        modes = [
            aws.sagemaker.EndpointConfigurationDataCaptureConfigCaptureOptionArgs(capture_mode=mode) for mode in ("Input", "Output")
        ]
        types = ["application/json"]
        return aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs(
            enable_capture=True,
            initial_sampling_percentage=self.place.capture_percent,
            destination_s3_uri=pulumi.Output.concat(self.ground.capture, "/requests"),
            kms_key_id=self.ground.key_arn,
            capture_options=modes,
            capture_content_type_header=aws.sagemaker.EndpointConfigurationDataCaptureConfigCaptureContentTypeHeaderArgs(
                json_content_types=types
            ),
        )

    def _queue(self) -> aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs | None:
        """Answers and failures of the asynchronous form lie in S3."""
        if self.place.form != "async":
            return None
        output = aws.sagemaker.EndpointConfigurationAsyncInferenceConfigOutputConfigArgs(
            s3_output_path=pulumi.Output.concat(self.ground.capture, "/answers"),
            s3_failure_path=pulumi.Output.concat(self.ground.capture, "/failures"),
            kms_key_id=self.ground.key_arn,
        )
        client = aws.sagemaker.EndpointConfigurationAsyncInferenceConfigClientConfigArgs(
            max_concurrent_invocations_per_instance=self.wanted.scale.concurrency_per_copy
        )
        return aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs(output_config=output, client_config=client)

    def endpoint(self, alarms: Sequence[aws.cloudwatch.MetricAlarm]) -> aws.sagemaker.Endpoint:
        """The alarms come first: a rollout that watches an alarm which is not there yet is refused."""
        return aws.sagemaker.Endpoint(
            "endpoint",
            name=self.endpoint_name,
            endpoint_config_name=self.configuration.name,
            deployment_config=None if self.place.form == "serverless" else guardrails(self.wanted.rollout, alarms),
            tags=self.wanted.tags(),
            opts=pulumi.ResourceOptions(depends_on=list(alarms)),
        )

    def _named(self, number: int, content: list[Any]) -> str:
        end = f"-r{number}-{digest_of(content)[:8]}"
        return fitted(self.wanted.owner.prefix, 63 - len(end)) + end


def sagemaker(wanted: Serving, place: SagemakerArgs) -> Served:
    """The endpoint, its alarms, its scaling."""
    made = Sagemaker(wanted, place)
    found = signals(wanted, made.endpoint_name)
    log_group = aws.cloudwatch.LogGroup(
        "endpoint-logs", name=f"/aws/sagemaker/Endpoints/{made.endpoint_name}", retention_in_days=90, tags=wanted.tags()
    )
    alarms = rollback_alarms(wanted, found) if place.form != "serverless" else []
    endpoint = made.endpoint(alarms)
    if place.form != "serverless" and wanted.scale.max > wanted.scale.min:
        for side in made.models:
            scale_instances(wanted, endpoint, side, waits=place.form == "async")
    return Served(
        url=endpoint.name.apply(
            lambda name: f"https://runtime.sagemaker.{wanted.owner.region}.amazonaws.com/endpoints/{name}/{_path(place)}"
        ),
        names={
            "endpoint": endpoint.name,
            "configuration": made.configuration.name,
            "models": {side: model.name for side, model in made.models.items()},
        },
        signals=found,
        health=health(made.endpoint_name, next(iter(made.models))),
        host=None,
        log_group=log_group.name,
        rollback=alarms,
    )


def _path(place: SagemakerArgs) -> str:
    """Real-time endpoints speak OpenAI's API; the others take SageMaker's own calls."""
    return {"realtime": "openai/v1", "async": "async-invocations", "serverless": "invocations"}[place.form]


def has_local_disk(instance: str) -> bool:
    """Types with NVMe disks of their own encrypt them in hardware, and refuse a key."""
    family = instance.split(".")[1] if instance.count(".") == 2 else ""
    return family in LOCAL_DISKS or (family.endswith("d") and family[:1] in "cmr")


LOCAL_DISKS = frozenset(
    {
        "g4dn",
        "g5",
        "g6",
        "g6e",
        "gr6",
        "p3dn",
        "p4d",
        "p4de",
        "p5",
        "p5e",
        "p5en",
        "p6-b200",
        "trn1",
        "trn1n",
        "trn2",
        "i3",
        "i4i",
        "i3en",
    }
)
"""No list of AWS's own exists; `c5d`, `m6id` and their like are known by their letter."""
