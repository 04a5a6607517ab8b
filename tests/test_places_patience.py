"""What a place in AWS does around its stack: what it puts out of the way before it, and how long it waits."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from asked_parts import at, spec

from backends.places.cloud import Endpoint
from backends.places.ecs_endpoint import EcsEndpoint
from backends.places.lambda_endpoint import LambdaEndpoint
from backends.places.sagemaker_endpoint import SageMakerEndpoint
from llmspec.errors import PlaceError
from llmspec.site import Site

STEPS = {"endpoint": {"rollout": {"strategy": "linear", "wait": "30m"}}}


@dataclass
class Said:
    """AWS, as far as it is asked: what it says, and what it was asked to change."""

    answers: dict[str, Any]
    changed: list[dict[str, Any]] = field(default_factory=list)

    def look(self, _: str, verb: str, **what: Any) -> Any:
        if verb not in self.answers:
            self.changed.append({"verb": verb, **what})
        answer = self.answers.get(verb)
        return answer(what) if callable(answer) else answer

    ask = look


def site(place: str, *changes: dict[str, Any]) -> Site:
    return Site(spec(place, *changes), "prod", Path("bot.yaml"))


@pytest.mark.parametrize(("place", "kind"), [("sagemaker", SageMakerEndpoint), ("ecs", EcsEndpoint), ("lambda", LambdaEndpoint)])
def test_the_patience_with_a_rollout_grows_with_its_steps(place: str, kind: type[Endpoint]) -> None:
    def patience(*changes: dict[str, Any]) -> float:
        return kind(site(place, *changes)).watch().until - time.monotonic()

    assert patience() == pytest.approx(3600, abs=5)
    assert patience(STEPS) == pytest.approx(3600 + 5 * 1800, abs=5)


@pytest.mark.parametrize(
    ("live", "sides", "scaled", "unscaled"),
    [
        ("ml.m7i.large", ["primary"], ["primary"], []),
        ("ml.g5.xlarge", ["primary"], ["primary"], ["primary"]),
        ("ml.g5.xlarge", ["primary"], [], []),
        ("ml.m7i.large", ["primary", "variant-2"], ["primary", "variant-2"], ["variant-2"]),
    ],
    ids=["the same", "another instance", "another, and it is not scaled", "a side that ends"],
)
def test_a_variant_that_changes_its_instance_or_ends_is_scaled_no_more_before_the_stack(
    live: str, sides: list[str], scaled: list[str], unscaled: list[str]
) -> None:
    endpoint = SageMakerEndpoint(site("sagemaker", at("places.endpoint.sagemaker.instance", "ml.m7i.large")))
    variants = [{"VariantName": side, "InstanceType": live} for side in sides]
    described = {"EndpointName": "bot-prod", "EndpointConfigName": "bot-prod-r1"}
    registered = [f"endpoint/bot-prod/variant/{side}" for side in scaled]
    said = Said(
        {
            "describe_endpoint": described,
            "describe_endpoint_config": {"ProductionVariants": variants},
            "describe_scalable_targets": lambda asked: {
                "ScalableTargets": [{"ResourceId": each} for each in registered if each in asked["ResourceIds"]]
            },
        }
    )
    endpoint.aws = said  # type: ignore[assignment]
    endpoint.before({})
    endpoint.before({"names": {"endpoint": "bot-prod"}})
    assert [each["verb"] for each in said.changed] == ["deregister_scalable_target"] * len(unscaled)
    assert [each["ResourceId"] for each in said.changed] == [f"endpoint/bot-prod/variant/{side}" for side in unscaled]


@pytest.mark.parametrize(
    ("every", "unreserved", "ours", "most", "free"),
    [
        (10, 10, 0, 2, False),
        (1000, 1000, 0, 900, True),
        (1000, 1000, 0, 901, False),
        (1000, 200, 0, 101, False),
        (1000, 200, 50, 150, True),
        (100, 90, 10, 10, True),
    ],
)
def test_copies_that_lambda_would_not_reserve_are_said_before_the_stack(
    every: int, unreserved: int, ours: int, most: int, free: bool
) -> None:
    endpoint = LambdaEndpoint(site("lambda", {"endpoint": {"scale": {"min": 0, "max": most}}}))
    limit = {"ConcurrentExecutions": every, "UnreservedConcurrentExecutions": unreserved}
    function = {"Concurrency": {"ReservedConcurrentExecutions": ours}}
    endpoint.aws = Said({"get_account_settings": {"AccountLimit": limit}, "get_function": function})  # type: ignore[assignment]
    outputs = {"names": {"function": "bot-prod"}} if ours else {}
    if free:
        endpoint.before(outputs)
        return
    with pytest.raises(PlaceError, match=f"reserves {most} of the {every} copies.*\n.*lower scale.max"):
        endpoint.before(outputs)
