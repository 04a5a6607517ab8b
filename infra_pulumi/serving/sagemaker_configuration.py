"""SageMaker's endpoint configuration: which models on which machines, what is captured, and where answers are left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra_pulumi.names import fitted
from infra_pulumi.owner import Owner
from infra_pulumi.serving.wanted import USE, Release, Serving, Variant
from llmspec.job import digest_of
from llmspec.machines import has_local_disk

if TYPE_CHECKING:
    from infra_pulumi.serving.sagemaker import SagemakerArgs

OUTLIVES = pulumi.ResourceOptions(retain_on_delete=True)
"""Models and configurations outlive the rollout that replaces them."""
DRIVERS = dict.fromkeys(("g4dn", "g5", "p4d", "p4de"), "al2-ami-sagemaker-inference-gpu-3-1")
"""Families that SageMaker starts with a driver of 2021, under which nothing made for CUDA 12 computes -> what they are started with
instead. What came later has a newer one by itself, and not every image of AWS's knows it."""
START_SECONDS = 600
"""A copy loads its artifact and compiles its grammars before it answers `/ping`."""


def configuration(
    wanted: Serving, place: SagemakerArgs, models: Mapping[str, aws.sagemaker.Model]
) -> aws.sagemaker.EndpointConfiguration:
    """Immutable: any change gives it another name, and the old one stays: SageMaker itself may go back to it, and say that all
    went well. Whoever has seen the new one answer removes what is older (`backends/places/sagemaker_endpoint.py`)."""
    begin = copies(wanted, place)
    variants = [_variant(wanted, place, side, variant, models[side], begin[side]) for side, variant in wanted.sides().items()]
    encrypted = None if place.form == "serverless" or has_local_disk(place.instance) else wanted.ground.key_arn
    return aws.sagemaker.EndpointConfiguration(
        "configuration",
        name=_named(wanted, place, begin),
        production_variants=variants,
        data_capture_config=_capture(wanted, place),
        async_inference_config=_queue(wanted) if place.form == "async" else None,
        kms_key_arn=encrypted,
        tags=wanted.tags(),
        opts=OUTLIVES,
    )


def copies(wanted: Serving, place: SagemakerArgs) -> dict[str, int]:
    """How many of each side begin. SageMaker starts every configuration with its own number, however many work by then: so a new
    one begins with as many as work now, and the one that is live keeps what it began with, or each plan would replace it."""
    least, fleet = max(1, wanted.scale.min), wanted.fleet
    if fleet is None or place.form != "realtime":
        return dict.fromkeys(wanted.sides(), least)
    began = {side: fleet.began.get(side, least) for side in wanted.sides()}
    if _named(wanted, place, began) == fleet.configuration:
        return began
    return {side: min(max(least, fleet.now.get(side, least)), wanted.scale.max) for side in wanted.sides()}


def settings(release: Release) -> dict[str, str]:
    """SageMaker puts the artifact where the container looks for it, and IAM has decided who asks."""
    return release.settings(LLMSPEC_PLATFORM_GRANTS=USE)


def immutable_name(owner: Owner, number: int, content: list[Any]) -> str:
    """`support-bot-prod-r13-1a2b3c4d`: the release for people, the digest for whatever else may change."""
    end = f"-r{number}-{digest_of(content)[:8]}"
    return fitted(owner.prefix, 63 - len(end)) + end


def _named(wanted: Serving, place: SagemakerArgs, begin: Mapping[str, int]) -> str:
    """Of what is in it, how many copies begin included, where those are more than the fewest."""
    more = {side: count for side, count in begin.items() if count != max(1, wanted.scale.min)}
    content = _content(wanted, place)
    return immutable_name(wanted.owner, wanted.release.number, [*content, more] if more else content)


def _content(wanted: Serving, place: SagemakerArgs) -> list[Any]:
    sides, scale = wanted.sides().values(), wanted.scale
    releases = [[each.release.digest, each.release.image, settings(each.release), each.weight] for each in sides]
    return [releases, vars(place), _driver(place), scale.min, scale.max, scale.concurrency_per_copy, scale.zones]


def _driver(place: SagemakerArgs) -> str | None:
    return DRIVERS.get(place.instance.removeprefix("ml.").partition(".")[0])


def _variant(
    wanted: Serving, place: SagemakerArgs, side: str, variant: Variant, model: aws.sagemaker.Model, copies: int
) -> aws.sagemaker.EndpointConfigurationProductionVariantArgs:
    scale = wanted.scale
    if place.form == "serverless":
        serverless = aws.sagemaker.EndpointConfigurationProductionVariantServerlessConfigArgs(
            memory_size_in_mb=place.memory_mb, max_concurrency=scale.max, provisioned_concurrency=scale.min or None
        )
        return aws.sagemaker.EndpointConfigurationProductionVariantArgs(
            variant_name=side, model_name=model.name, serverless_config=serverless, initial_variant_weight=variant.weight
        )
    least = aws.sagemaker.EndpointConfigurationProductionVariantRoutingConfigArgs(routing_strategy="LEAST_OUTSTANDING_REQUESTS")
    return aws.sagemaker.EndpointConfigurationProductionVariantArgs(
        variant_name=side,
        model_name=model.name,
        instance_type=place.instance,
        inference_ami_version=_driver(place),
        initial_instance_count=copies,
        initial_variant_weight=variant.weight,
        container_startup_health_check_timeout_in_seconds=START_SECONDS,
        model_data_download_timeout_in_seconds=START_SECONDS,
        routing_configs=[least] if place.form == "realtime" else None,
    )


def _capture(wanted: Serving, place: SagemakerArgs) -> aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs | None:
    if not place.capture_percent:
        return None
    option = aws.sagemaker.EndpointConfigurationDataCaptureConfigCaptureOptionArgs
    types = aws.sagemaker.EndpointConfigurationDataCaptureConfigCaptureContentTypeHeaderArgs(
        json_content_types=["application/json"]
    )
    return aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs(
        enable_capture=True,
        initial_sampling_percentage=place.capture_percent,
        destination_s3_uri=pulumi.Output.concat(wanted.ground.capture, "/requests"),
        kms_key_id=wanted.ground.key_arn,
        capture_options=[option(capture_mode=mode) for mode in ("Input", "Output")],
        capture_content_type_header=types,
    )


def _queue(wanted: Serving) -> aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs:
    """Answers and failures of the asynchronous form lie in S3."""
    output = aws.sagemaker.EndpointConfigurationAsyncInferenceConfigOutputConfigArgs(
        s3_output_path=pulumi.Output.concat(wanted.ground.capture, "/answers"),
        s3_failure_path=pulumi.Output.concat(wanted.ground.capture, "/failures"),
        kms_key_id=wanted.ground.key_arn,
    )
    client = aws.sagemaker.EndpointConfigurationAsyncInferenceConfigClientConfigArgs(
        max_concurrent_invocations_per_instance=wanted.scale.concurrency_per_copy
    )
    return aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs(output_config=output, client_config=client)
