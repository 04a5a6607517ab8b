"""Who may ask a hosted model: the endpoint, that model, and nobody else."""

from dataclasses import replace

import pytest
from conftest import ROOT
from foundation_parts import allowed, small
from pulumi_parts import REGION, World
from pulumi_service_parts import run, serving

from infra_pulumi.components.identity import IdentityArgs
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.hosted import INVOKE
from infra_pulumi.serving.lambda_ import LambdaArgs
from llmspec import network
from llmspec.load import load

MODEL = "amazon.nova-lite-v1:0"


@pytest.mark.parametrize(
    ("model", "directly"),
    [
        (MODEL, f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}"),
        (
            "arn:aws:bedrock:eu-central-1:111122223333:imported-model/ab12",
            "arn:aws:bedrock:eu-central-1:111122223333:imported-model/ab12",
        ),
    ],
)
def test_the_endpoint_may_ask_its_model_and_no_other_job_may(model: str, directly: str) -> None:
    world = small(identity=IdentityArgs(models=(model,)))
    (statement,) = [each for each in allowed(world, "endpoint") if each["Action"] == list(INVOKE)]
    assert statement["Resource"] == [directly]
    others = [role for role in ("data", "training", "evaluation", "monitors", "build") if "bedrock" in str(allowed(world, role))]
    assert others == []
    assert directly in str(list(world.one("iam/policy:Policy", "boundary").documents()))


def test_a_profile_is_asked_itself_and_its_model_only_through_it() -> None:
    world = small(identity=IdentityArgs(models=(f"eu.{MODEL}",)))
    own, beyond = [each for each in allowed(world, "endpoint") if each["Action"] == list(INVOKE)]
    (profile,) = own["Resource"]
    assert profile.endswith(f":inference-profile/eu.{MODEL}")
    assert beyond["Resource"][0] == f"arn:aws:bedrock:*::foundation-model/{MODEL}"
    assert beyond["Condition"] == {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
    assert beyond["Sid"] == "AProfilePassesQuestionsOnToItsModelInWhicheverRegionHasRoom"


def test_without_a_hosted_model_nobody_may_ask_bedrock(bare_ground: World) -> None:
    assert all("bedrock:" not in str(allowed(bare_ground, role)) for role in bare_ground.exports["roles"])


def test_a_private_network_has_a_door_to_the_hosted_model_and_only_where_one_is_asked() -> None:
    hosted, own = (network.doors(load(ROOT / "specs" / name, "prod", env={}).spec) for name in ("aws-bedrock.yaml", "aws-ecs.yaml"))
    assert set(hosted) - set(own) == {"bedrock-runtime"}
    assert "door-bedrock-runtime" in small(network=NetworkArgs(services=hosted)).of("ec2/vpcEndpoint:VpcEndpoint")


def test_a_function_that_has_a_role_of_its_own_may_ask_too() -> None:
    wanted = serving(LambdaArgs())
    made = run(replace(wanted, release=replace(wanted.release, models=(MODEL,))))
    (statement,) = [each for _, each in made.statements() if each["Action"] == list(INVOKE)]
    assert statement["Resource"] == [f"arn:aws:bedrock:{wanted.owner.region}::foundation-model/{MODEL}"]
