"""The service stack on Lambda: what each option makes of the resources."""

import dataclasses
import json

import pytest
from pulumi_service_parts import GROUND, release, run, serving

from infra_pulumi.components.preflight import named_origin
from infra_pulumi.components.rest_api import Plan
from infra_pulumi.service import faults
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.lambda_ import LambdaArgs
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Alarm, Monitors, PlaceArgs, Rollout, Scale, SecondRegion, Variant

PLAIN = LambdaArgs()
FUNCTION, INTEGRATION, METHOD = "lambda/function:Function", "apigateway/integration:Integration", "apigateway/method:Method"


def told(wanted) -> str:
    return "\n".join(map(str, faults(wanted)))


def test_the_function_is_the_serving_image_and_its_copies_end_at_max() -> None:
    made = run(serving(LambdaArgs(memory_mb=8192, timeout_seconds=300, disk_mb=4096, architecture="arm64"), scale=Scale(0, 20)))
    function = made.one(FUNCTION)
    assert (function["packageType"], function["imageUri"]) == ("Image", release().image)
    assert (function["memorySize"], function["timeout"], function["ephemeralStorage"]) == (8192, 300, {"size": 4096})
    assert (function["reservedConcurrentExecutions"], function["architectures"]) == (20, ["arm64"])
    variables = function["environment"]["variables"]
    assert variables["LLMSPEC_MODEL"] == "s3://acme-llm/bot/onnx/key13/"
    assert (variables["LLMSPEC_RELEASE"], variables["LLMSPEC_PLATFORM_GRANTS"]) == ("packed-13", "use")
    assert variables["AWS_LWA_INVOKE_MODE"] == "response_stream"
    assert not made.all("lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")


def test_min_copies_are_kept_warm_behind_the_live_alias() -> None:
    warm = run(serving(PLAIN, scale=Scale(3, 20))).one("lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")
    assert (warm["provisionedConcurrentExecutions"], warm["qualifier"]) == (3, "live")


def test_the_api_streams_what_the_stages_alias_answers() -> None:
    made = run(serving(LambdaArgs(candidate=True, timeout_seconds=300)))
    integration = made.one(INTEGRATION)
    assert (integration["responseTransferMode"], integration["timeoutMilliseconds"]) == ("STREAM", 300_000)
    assert integration["uri"].endswith(":${stageVariables.alias}/response-streaming-invocations")
    assert "/2021-11-15/" in integration["uri"]
    stages = made.all("apigateway/stage:Stage").values()
    assert {(stage["stageName"], stage["variables"]["alias"]) for stage in stages} == {("live", "live"), ("candidate", "candidate")}
    allowed = made.all("lambda/permission:Permission").values()
    assert {each["qualifier"] for each in allowed} == {"live", "candidate"}
    assert set(made.all("apigateway/stage:Stage")) - set(run(serving(PLAIN)).all("apigateway/stage:Stage")) == {"api-candidate"}


def test_each_plan_has_its_limits_and_a_key_that_aws_makes() -> None:
    made = run(serving(LambdaArgs(plans={"user": Plan(), "partner": Plan(50, 100, 1_000_000)})))
    plans = made.all("apigateway/usagePlan:UsagePlan")
    assert plans["api-partner"]["throttleSettings"] == {"rateLimit": 50, "burstLimit": 100}
    assert plans["api-partner"]["quotaSettings"] == {"limit": 1_000_000, "period": "MONTH"}
    assert "quotaSettings" not in plans["api-user"]
    assert all("value" not in key for key in made.all("apigateway/apiKey:ApiKey").values())
    assert made.outputs["names"]["keys"] == {"user": "api-user-id", "partner": "api-partner-id"}


def test_who_asks_has_signed_in_where_there_is_a_user_pool_and_always_has_a_key() -> None:
    made = run(serving(PLAIN))
    method = made.one(METHOD)
    assert (method["authorization"], method["apiKeyRequired"]) == ("COGNITO_USER_POOLS", True)
    assert made.one("apigateway/authorizer:Authorizer")["providerArns"] == [GROUND.user_pool_arn]
    alone = run(serving(PLAIN, ground=dataclasses.replace(GROUND, user_pool_arn=None)))
    assert (alone.one(METHOD)["authorization"], alone.one(METHOD)["apiKeyRequired"]) == ("NONE", True)


def test_a_browsers_question_is_answered_without_a_key_and_without_a_copy() -> None:
    made = run(serving(LambdaArgs(cors=("https://shop.example", "https://help.example"))))
    method = made.all(METHOD)["api-preflight"]
    assert (method["httpMethod"], method["authorization"]) == ("OPTIONS", "NONE")
    assert "apiKeyRequired" not in method
    assert made.all(INTEGRATION)["api-preflight"]["type"] == "MOCK"
    template = made.one("apigateway/integrationResponse:IntegrationResponse")["responseTemplates"]["application/json"]
    assert template == named_origin(("https://shop.example", "https://help.example"))
    assert '$origin == "https://help.example"' in template
    assert "api-preflight" not in run(serving(PLAIN)).all(METHOD)


def test_a_changed_list_of_origins_is_deployed_again_and_the_same_list_is_not() -> None:
    places = (
        LambdaArgs(cors=("https://a.example",)),
        LambdaArgs(cors=("https://b.example",)),
        LambdaArgs(cors=("https://a.example",)),
    )
    first, other, again = (run(serving(place)).one("apigateway/deployment:Deployment")["triggers"] for place in places)
    assert first == again != other


def test_the_access_log_is_off_until_it_is_asked_for() -> None:
    assert "accessLogSettings" not in run(serving(PLAIN)).one("apigateway/stage:Stage")
    settings = run(serving(LambdaArgs(access_log=True))).one("apigateway/stage:Stage")["accessLogSettings"]
    assert settings["destinationArn"] == f"arn:aws:logs:eu-central-1:111122223333:log-group:{GROUND.log_group}"
    assert not {"status", "seconds", "answer_tokens"} & set(json.loads(settings["format"]))


def test_steps_are_codedeploys_with_alarms_that_stop_and_turn_back() -> None:
    alarms = (Alarm("error_rate", ">", 0.02),)
    made = run(serving(PLAIN, rollout=Rollout("linear", (25, 50, 75, 100), 120, alarms)))
    steps = made.one("codedeploy/deploymentConfig:DeploymentConfig")["trafficRoutingConfig"]
    assert steps == {"type": "TimeBasedLinear", "timeBasedLinear": {"percentage": 25, "interval": 2}}
    group = made.one("codedeploy/deploymentGroup:DeploymentGroup")
    assert group["alarmConfiguration"] == {"enabled": True, "alarms": ["bot-prod-rollback-1-error_rate"]}
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["autoRollbackConfiguration"]["events"]
    assert made.outputs["names"]["deployment"] == {"application": "bot-prod", "group": "bot-prod"}
    assert made.outputs["names"]["version"] == "7"


def test_a_canary_is_one_step_and_all_at_once_needs_no_codedeploy() -> None:
    steps = run(serving(PLAIN, rollout=Rollout("canary", (10, 100)))).one("codedeploy/deploymentConfig:DeploymentConfig")
    assert steps["trafficRoutingConfig"]["timeBasedCanary"] == {"percentage": 10, "interval": 5}
    assert not run(serving(PLAIN)).all("codedeploy/application:Application")


def test_copies_stand_in_the_network_only_with_the_right_to_a_network_card() -> None:
    inside, outside = run(serving(PLAIN)), run(serving(LambdaArgs(in_network=False)))
    assert inside.one(FUNCTION)["vpcConfig"]["subnetIds"] == ["subnet-a", "subnet-b"]
    assert "vpcConfig" not in outside.one(FUNCTION)
    cards = [any("ec2:CreateNetworkInterface" in each["Action"] for _, each in made.statements()) for made in (inside, outside)]
    assert cards == [True, False]


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        (serving(LambdaArgs(memory_mb=20_000)), "128 to 10240"),
        (serving(LambdaArgs(timeout_seconds=1000)), "1 to 900"),
        (serving(LambdaArgs(disk_mb=100)), "512 to 10240"),
        (serving(LambdaArgs(architecture="risc")), "arm64"),
        (serving(LambdaArgs(plans={})), "name a plan"),
        (serving(PLAIN, scale=Scale(0, 4, 8)), "one request at a time"),
        (serving(PLAIN, variants=(Variant(release(12), 50), Variant(release(13), 50))), "endpoint.variants"),
        (serving(PLAIN, rollout=Rollout(rollback_on=(Alarm("error_rate", ">", 0.1),))), "over in an instant"),
        (serving(PLAIN, rollout=Rollout("canary", (10, 100), 30)), "counts minutes"),
        (serving(PLAIN, release=release(secrets={"A": "arn"})), "no secrets"),
        (serving(PLAIN, monitors=Monitors(second_region=SecondRegion("a", "b", "c"))), "second_region"),
    ],
)
def test_a_limit_of_lambda_is_said_before_anything_is_made(wanted, where) -> None:
    assert where in told(wanted)


def test_harmless_neighbours_of_those_limits_are_silent() -> None:
    for wanted in (
        serving(PLAIN),
        serving(PLAIN, scale=Scale(0, 4, 1)),
        serving(LambdaArgs(memory_mb=10_240, timeout_seconds=900)),
    ):
        assert told(wanted) == ""


@pytest.mark.parametrize(
    ("place", "most"),
    [
        (PLAIN, 4096),
        (SagemakerArgs(instance="ml.g5.xlarge"), 32 * 1024),
        (EcsArgs(domain="bot.acme.example", zone_id="Z1"), 60 * 1024),
    ],
)
def test_a_release_that_is_longer_than_what_a_copy_can_be_told_is_refused_before_anything_is_made(
    place: PlaceArgs, most: int
) -> None:
    fits = release(environment={"LLMSPEC_RELEASE": "x" * (most - 600)})
    longer = release(environment={"LLMSPEC_RELEASE": "x" * most})
    assert "environment" not in told(serving(place, release=fits))
    found = told(serving(place, release=longer))
    assert "endpoint.system_prompt: release 13 takes " in found
    assert f"bytes of its copies' environment, and {'a function' if place is PLAIN else 'a '}" in found
    assert f"has {most:,}" in found
