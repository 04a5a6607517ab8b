"""placed: a place's card becomes the arguments of its serving program: the card's names and units here, AWS's there."""

from collections.abc import Callable
from math import ceil
from typing import Any

from infra_pulumi.components.rest_api import Plan
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.eks import EksArgs
from infra_pulumi.serving.lambda_ import LambdaArgs
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import USE, PlaceArgs
from llmspec import container
from llmspec.registry import name_of
from llmspec.spec import Spec
from llmspec.spec.endpoint import Endpoint, Limits

GB = 10**9
UNIT = 1024
"""Of a processor, to ECS; and AWS calls 1,024 of its megabytes a gigabyte."""
MOST_OF_A_FUNCTION = 10_240
SERVERLESS_GB = 2
"""Of a serverless copy, when the spec says nothing."""
FREELY = Plan(requests_per_second=10_000, burst=5_000)
"""As much as an account has: the spec names no limit."""


def placed(spec: Spec) -> PlaceArgs:
    """The arguments of the place that the endpoint is at."""
    place = spec.place("endpoint")
    return PLACED[name_of(type(place))](place, spec.endpoint)


def grants(spec: Spec) -> dict[str, str]:
    """At ECS and EKS a load balancer lets in whom `open_to` names, and a container holds no keys: that is the platform's word.
    SageMaker's and Lambda's programs give it themselves."""
    return {container.GRANTS: USE} if name_of(type(spec.place("endpoint"))) in ("ecs", "eks") else {}


def _sagemaker(place: Any, _: Endpoint) -> PlaceArgs:
    if place.form == "serverless":
        return SagemakerArgs("serverless", memory_mb=megabytes(place.memory or SERVERLESS_GB * GB))
    return SagemakerArgs(place.form, place.instance, capture_percent=place.capture_percent, isolated=place.network_isolation)


def _ecs(place: Any, _: Endpoint) -> PlaceArgs:
    return EcsArgs(
        cpu=round(place.cpu * UNIT),
        memory_mb=megabytes(place.memory),
        instance=place.instance or "",
        gpus=place.gpus,
        disk_gb=ceil(place.disk / GB),
        **_address(place),
    )


def _lambda(place: Any, endpoint: Endpoint) -> PlaceArgs:
    return LambdaArgs(
        memory_mb=min(megabytes(place.memory), MOST_OF_A_FUNCTION),
        timeout_seconds=round(place.timeout),
        disk_mb=min(megabytes(place.disk), MOST_OF_A_FUNCTION),
        plans={"user": plan(endpoint.limits)},
        cors=tuple(endpoint.cors),
    )


def _eks(place: Any, _: Endpoint) -> PlaceArgs:
    return EksArgs(
        instance=place.instance,
        gpus=place.gpus,
        cpu=f"{place.cpu:g}",
        memory=f"{megabytes(place.memory)}Mi",
        disk=f"{megabytes(place.disk)}Mi",
        version=place.version,
        **_address(place),
    )


PLACED: dict[str, Callable[[Any, Endpoint], PlaceArgs]] = {"sagemaker": _sagemaker, "ecs": _ecs, "lambda": _lambda, "eks": _eks}


def megabytes(size: int) -> int:
    """`8GB` -> 8192."""
    return round(size / GB * UNIT)


def plan(limits: Limits) -> Plan:
    """The spec's minute, counted by the gateway over all copies: a copy of a function lives too short to count one."""
    a_minute = limits.requests_per_minute
    return Plan(a_minute / 60, a_minute) if a_minute else FREELY


def _address(place: Any) -> dict[str, Any]:
    """Who may ask, by which name."""
    return {
        "public": place.public,
        "open_to": tuple(place.open_to),
        "certificate_arn": place.certificate or "",
        "domain": place.domain or "",
        "zone_id": place.zone or "",
    }
