"""What a place in AWS does around its stack: how long it waits."""

import time
from pathlib import Path
from typing import Any

import pytest
from test_infra_asked import spec

from backends.places.cloud import Endpoint
from backends.places.ecs_endpoint import EcsEndpoint
from backends.places.lambda_endpoint import LambdaEndpoint
from backends.places.sagemaker_endpoint import SageMakerEndpoint
from llmspec.site import Site

STEPS = {"endpoint": {"rollout": {"strategy": "linear", "wait": "30m"}}}


def site(place: str, *changes: dict[str, Any]) -> Site:
    return Site(spec(place, *changes), "prod", Path("bot.yaml"))


@pytest.mark.parametrize(("place", "kind"), [("sagemaker", SageMakerEndpoint), ("ecs", EcsEndpoint), ("lambda", LambdaEndpoint)])
def test_the_patience_with_a_rollout_grows_with_its_steps(place: str, kind: type[Endpoint]) -> None:
    def patience(*changes: dict[str, Any]) -> float:
        return kind(site(place, *changes)).watch().until - time.monotonic()

    assert patience() == pytest.approx(3600, abs=5)
    assert patience(STEPS) == pytest.approx(3600 + 5 * 1800, abs=5)
