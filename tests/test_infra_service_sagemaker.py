"""The service stack at SageMaker: what each option makes of the resources."""

import dataclasses

import botocore.session
import pytest
from pulumi_service_parts import GROUND, OWNER, release, run, serving

from infra_pulumi.service import faults
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Alarm, Rollout, Scale, Variant
from llmspec.errors import SpecError
from llmspec.machines import has_local_disk
from llmspec.release import Fleet

CPU = SagemakerArgs(instance="ml.m5.xlarge")
CONFIGURATION = "sagemaker/endpointConfiguration:EndpointConfiguration"


def told(wanted) -> str:
    return "\n".join(map(str, faults(wanted)))


def test_a_model_is_the_artifacts_own_folder_unpacked_isolated_and_in_as_many_zones_as_asked() -> None:
    model = run(serving(CPU, scale=Scale(zones=2))).one("sagemaker/model:Model")
    (source,) = model["primaryContainer"]["modelDataSource"]["s3DataSources"]
    assert source == {"s3Uri": "s3://acme-llm/bot/onnx/key13/", "s3DataType": "S3Prefix", "compressionType": "None"}
    assert model["vpcConfig"] == {"subnets": ["subnet-a", "subnet-b"], "securityGroupIds": ["sg-work"]}
    assert model["enableNetworkIsolation"] is True
    assert model["executionRoleArn"] == GROUND.endpoint_role_arn
    assert model["primaryContainer"]["environment"] == {"LLMSPEC_RELEASE": "packed-13", "LLMSPEC_PLATFORM_GRANTS": "use"}


def test_the_configuration_is_named_by_release_and_digest_and_exported_for_the_read_back() -> None:
    made = run(serving(CPU))
    name = made.one(CONFIGURATION)["name"]
    assert name.startswith("bot-prod-r13-")
    assert made.one("sagemaker/endpoint:Endpoint")["endpointConfigName"] == name == made.outputs["names"]["configuration"]
    assert made.outputs["names"]["endpoint"] == "bot-prod"
    assert made.outputs["url"] == "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/bot-prod/openai/v1"


@pytest.mark.parametrize(
    "change",
    [
        {"release": release(13, digest="f" * 64)},
        {"release": release(13, environment={"LOG": "debug"})},
        {"place": SagemakerArgs(instance="ml.m5.2xlarge")},
        {"place": SagemakerArgs(instance="ml.m5.xlarge", capture_percent=5)},
        {"scale": Scale(min=2, max=2)},
        {"variants": (Variant(release(12), 90), Variant(release(13), 10))},
    ],
    ids=["digest", "environment", "instance", "capture", "scale", "variants"],
)
def test_whatever_changes_in_a_configuration_gives_it_another_name(change) -> None:
    before, after = (run(each).one(CONFIGURATION)["name"] for each in (serving(CPU), dataclasses.replace(serving(CPU), **change)))
    assert before != after


def test_the_same_release_has_the_same_names_and_a_rollout_changes_none() -> None:
    first = run(serving(CPU)).one(CONFIGURATION)
    again = run(serving(CPU, rollout=Rollout("canary", (10, 100)))).one(CONFIGURATION)
    assert first == again


def test_a_canary_becomes_a_guardrail_that_watches_alarms_which_are_there_first() -> None:
    rollout = Rollout("canary", (10, 100), 600, (Alarm("error_rate", ">", 0.02), Alarm("p95_latency", ">", 1.0, 300)))
    made = run(serving(CPU, rollout=rollout))
    guard = made.one("sagemaker/endpoint:Endpoint")["deploymentConfig"]
    policy = guard["blueGreenUpdatePolicy"]
    assert policy["trafficRoutingConfiguration"] == {
        "type": "CANARY",
        "waitIntervalInSeconds": 600,
        "canarySize": {"type": "CAPACITY_PERCENT", "value": 10},
    }
    names = [alarm["alarmName"] for alarm in guard["autoRollbackConfiguration"]["alarms"]]
    assert names == ["bot-prod-rollback-1-error_rate", "bot-prod-rollback-2-p95_latency"]
    alarms = made.all("cloudwatch/metricAlarm:MetricAlarm")
    assert alarms[names[1]]["threshold"] == 1
    assert alarms[names[1]]["evaluationPeriods"] == 5
    order = [name for _, name, _ in made.resources]
    assert order.index(names[0]) < order.index("endpoint")


def test_linear_steps_become_a_linear_guardrail() -> None:
    endpoint = run(serving(CPU, rollout=Rollout("linear", (25, 50, 75, 100), 60))).one("sagemaker/endpoint:Endpoint")
    routing = endpoint["deploymentConfig"]["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]
    assert routing["type"] == "LINEAR"
    assert routing["linearStepSize"] == {"type": "CAPACITY_PERCENT", "value": 25}


def test_without_a_word_about_rollback_there_is_still_an_alarm_to_roll_back_on() -> None:
    made = run(serving(CPU))
    alarms = made.one("sagemaker/endpoint:Endpoint")["deploymentConfig"]["autoRollbackConfiguration"]["alarms"]
    assert alarms == [{"alarmName": "bot-prod-rollback-1-error_rate"}]
    assert "bot-prod-rollback-1-error_rate" in made.all("cloudwatch/metricAlarm:MetricAlarm")


def test_ninety_to_ten_are_whole_weights_of_two_models_under_names_that_stay() -> None:
    made = run(serving(CPU, variants=(Variant(release(12), 90), Variant(release(13), 10))))
    variants = made.one(CONFIGURATION)["productionVariants"]
    assert [(each["variantName"], each["initialVariantWeight"]) for each in variants] == [("primary", 90), ("variant-2", 10)]
    assert variants[0]["modelName"] != variants[1]["modelName"]
    alarm = made.all("cloudwatch/metricAlarm:MetricAlarm")["bot-prod-rollback-1-error_rate"]
    asked = {query["metric"]["dimensions"]["VariantName"] for query in alarm["metricQueries"] if "metric" in query}
    assert asked == {"primary", "variant-2"}


def test_scaling_follows_requests_at_work_of_each_variant() -> None:
    variants = (Variant(release(12), 90), Variant(release(13), 10))
    made = run(serving(CPU, scale=Scale(2, 8, 6), variants=variants))
    targets = made.all("appautoscaling/target:Target").values()
    assert {target["resourceId"] for target in targets} == {
        "endpoint/bot-prod/variant/primary",
        "endpoint/bot-prod/variant/variant-2",
    }
    assert {(target["minCapacity"], target["maxCapacity"]) for target in targets} == {(2, 8)}
    policy = made.all("appautoscaling/policy:Policy")["track-primary"]["targetTrackingScalingPolicyConfiguration"]
    metric = policy["predefinedMetricSpecification"]["predefinedMetricType"]
    assert (metric, policy["targetValue"]) == ("SageMakerVariantConcurrentRequestsPerModelHighResolution", 6)


def test_as_many_copies_at_most_as_at_least_is_nothing_to_scale() -> None:
    assert not run(serving(CPU, scale=Scale(2, 2))).all("appautoscaling/target:Target")


def begun(fleet: Fleet | None, scale: Scale, place: SagemakerArgs = CPU, **more) -> tuple[str, list[int]]:
    made = run(serving(place, scale=scale, fleet=fleet, **more)).one(CONFIGURATION)
    return made["name"], [variant["initialInstanceCount"] for variant in made["productionVariants"]]


@pytest.mark.parametrize(("now", "begins"), [(6, 6), (1, 2), (11, 8)], ids=["as they are", "not below min", "not above max"])
def test_another_release_begins_with_as_many_copies_as_work_now(now: int, begins: int) -> None:
    live = Fleet("bot-prod-r12-1a2b3c4d", {"primary": 2}, {"primary": now})
    assert begun(live, Scale(2, 8))[1] == [begins]


def test_what_is_live_and_scaled_since_is_still_what_was_asked_for() -> None:
    first, counts = begun(None, Scale(1, 8))
    assert counts == [1]
    assert begun(Fleet(first, {"primary": 1}, {"primary": 7}), Scale(1, 8)) == (first, [1])
    at_peak, counts = begun(Fleet("bot-prod-r12-1a2b3c4d", {"primary": 1}, {"primary": 5}), Scale(1, 8))
    assert (counts, at_peak != first) == ([5], True)
    assert begun(Fleet(at_peak, {"primary": 5}, {"primary": 2}), Scale(1, 8)) == (at_peak, [5])


def test_each_side_begins_with_its_own_copies_and_one_that_is_new_with_the_fewest() -> None:
    live = Fleet("bot-prod-r12-1a2b3c4d", {"primary": 1}, {"primary": 5})
    assert begun(live, Scale(2, 8), variants=(Variant(release(12), 90), Variant(release(13), 10)))[1] == [5, 2]


def test_what_waits_in_a_queue_begins_with_the_fewest_copies() -> None:
    live = Fleet("bot-prod-r12-1a2b3c4d", {"primary": 1}, {"primary": 5})
    assert begun(live, Scale(0, 8), SagemakerArgs(form="async", instance="ml.m5.xlarge"))[1] == [1]


def test_a_key_encrypts_the_disks_of_machines_that_have_none_of_their_own() -> None:
    assert run(serving(CPU)).one(CONFIGURATION)["kmsKeyArn"] == GROUND.key_arn
    assert "kmsKeyArn" not in run(serving(SagemakerArgs(instance="ml.g5.xlarge"))).one(CONFIGURATION)
    assert [has_local_disk(f"ml.{family}.xlarge") for family in ("g6e", "c5d", "m6id", "m5", "g4dn", "c7i")] == [
        True, True, True, False, True, False,
    ]  # fmt: skip


def test_a_machine_whose_own_driver_is_older_than_our_cuda_is_started_with_a_newer_one() -> None:
    known = botocore.session.get_session().get_service_model("sagemaker").shape_for("ProductionVariantInferenceAmiVersion").enum
    for instance, newer in (("ml.g5.xlarge", True), ("ml.g4dn.xlarge", True), ("ml.g6.xlarge", False), ("ml.m5.xlarge", False)):
        (variant,) = run(serving(SagemakerArgs(instance=instance))).one(CONFIGURATION)["productionVariants"]
        driver = variant.get("inferenceAmiVersion")
        assert (driver is not None) == newer, instance
        assert driver is None or driver in known


def test_the_log_group_is_there_before_the_endpoint_and_goes_after_it() -> None:
    made = run(serving(CPU))
    assert "cloudwatch/logGroup:LogGroup endpoint-logs" in made.after("sagemaker/endpoint:Endpoint endpoint")


def test_capture_is_off_until_it_is_asked_for_and_then_encrypted() -> None:
    assert "dataCaptureConfig" not in run(serving(CPU)).one(CONFIGURATION)
    capture = run(serving(dataclasses.replace(CPU, capture_percent=20))).one(CONFIGURATION)["dataCaptureConfig"]
    assert capture["initialSamplingPercentage"] == 20
    assert capture["destinationS3Uri"] == "s3://acme-llm/bot/capture/requests"
    assert capture["kmsKeyId"] == GROUND.key_arn


def test_the_asynchronous_form_scales_by_its_queue_and_wakes_from_no_copy() -> None:
    place = SagemakerArgs(form="async", instance="ml.m5.xlarge")
    made = run(serving(place, scale=Scale(0, 4, 3)))
    queue = made.one(CONFIGURATION)["asyncInferenceConfig"]
    assert queue["clientConfig"]["maxConcurrentInvocationsPerInstance"] == 3
    assert queue["outputConfig"]["s3OutputPath"] == "s3://acme-llm/bot/capture/answers"
    policies = made.all("appautoscaling/policy:Policy")
    tracked = policies["track-primary"]["targetTrackingScalingPolicyConfiguration"]["customizedMetricSpecification"]
    assert tracked["metricName"] == "ApproximateBacklogSizePerInstance"
    assert policies["wake-primary"]["policyType"] == "StepScaling"
    assert made.all("cloudwatch/metricAlarm:MetricAlarm")["bot-prod-wake-primary"]["metricName"] == "HasBacklogWithoutCapacity"
    awake = run(serving(place, scale=Scale(1, 4, 3)))
    assert "wake-primary" not in awake.all("appautoscaling/policy:Policy")


def test_the_serverless_form_has_an_archive_warm_copies_and_neither_network_nor_guardrails() -> None:
    made = run(serving(SagemakerArgs(form="serverless", memory_mb=4096), scale=Scale(1, 20)))
    model, (variant,) = made.one("sagemaker/model:Model"), made.one(CONFIGURATION)["productionVariants"]
    assert model["primaryContainer"]["modelDataUrl"] == "s3://acme-llm/bot/onnx/key13.tar.gz"
    assert "vpcConfig" not in model
    assert variant["serverlessConfig"] == {"memorySizeInMb": 4096, "maxConcurrency": 20, "provisionedConcurrency": 1}
    assert "deploymentConfig" not in made.one("sagemaker/endpoint:Endpoint")
    assert not made.all("appautoscaling/target:Target")


SERVERLESS = SagemakerArgs(form="serverless", memory_mb=2048)


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        (serving(dataclasses.replace(SERVERLESS, instance="ml.g5.xlarge")), "sagemaker.instance"),
        (serving(dataclasses.replace(SERVERLESS, memory_mb=1500)), "sagemaker.memory_mb"),
        (serving(dataclasses.replace(SERVERLESS, capture_percent=1)), "sagemaker.capture_percent"),
        (serving(dataclasses.replace(SERVERLESS, isolated=True)), "sagemaker.isolated"),
        (serving(SERVERLESS, variants=(Variant(release(12), 50), Variant(release(13), 50))), "endpoint.variants"),
        (serving(SERVERLESS, rollout=Rollout("canary", (10, 100))), "endpoint.rollout"),
        (serving(SERVERLESS, release=release(archive="")), "no model.tar.gz"),
        (serving(SERVERLESS, scale=Scale(0, 4, 8)), "concurrency_per_copy"),
        (serving(CPU, scale=Scale(0, 4)), "endpoint.scale.min"),
        (serving(CPU, scale=Scale(4, 2)), "endpoint.scale"),
        (serving(CPU, scale=Scale(2, 2, 8)), "concurrency_per_copy"),
        (serving(CPU, scale=Scale(zones=4)), "endpoint.scale.zones"),
        (serving(CPU, rollout=Rollout("canary", (5, 25, 100))), "two steps"),
        (serving(CPU, rollout=Rollout("canary", (60, 100))), "at most 50"),
        (serving(CPU, rollout=Rollout("linear", (5, *range(10, 101, 5)))), "10 to 50"),
        (serving(CPU, rollout=Rollout("linear", (25, 60, 100))), "even steps"),
        (serving(CPU, rollout=Rollout("linear", tuple(range(10, 101, 10)), 3600)), "four hours"),
        (serving(CPU, rollout=Rollout(rollback_on=[Alarm("error_rate", ">", 0.1)] * 11)), "at most 10"),
        (serving(CPU, rollout=Rollout(rollback_on=[Alarm("error_rate", "!=", 0.1)])), "'!='"),
        (serving(CPU, rollout=Rollout(rollback_on=[Alarm("latency", ">", 0.1)])), "no metric"),
        (serving(CPU, variants=(Variant(release(12), 90), Variant(release(13), 20))), "sum to 110"),
        (serving(CPU, variants=(Variant(release(12), 90), Variant(release(11), 10))), "none of them"),
        (serving(CPU, release=release(artifact="s3://acme-llm/bot/onnx/key13")), "no prefix"),
        (serving(CPU, release=release(secrets={"KEY": "arn"})), "no secrets"),
        (serving(SagemakerArgs(instance="g5.xlarge")), "no instance of SageMaker"),
        (serving(dataclasses.replace(CPU, memory_mb=1024)), "sagemaker.memory_mb"),
    ],
)  # fmt: skip
def test_a_limit_of_sagemaker_is_said_before_anything_is_made(wanted, where) -> None:
    assert where in told(wanted)
    with pytest.raises(SpecError):
        run(wanted)


def test_harmless_neighbours_of_those_limits_are_silent() -> None:
    for wanted in (
        serving(CPU),
        serving(SERVERLESS, scale=Scale(0, 4, 1)),
        serving(CPU, rollout=Rollout("canary", (50, 100))),
        serving(CPU, rollout=Rollout("linear", tuple(range(10, 101, 10)), 900)),
        serving(CPU, scale=Scale(2, 4, 8, zones=3)),
    ):
        assert told(wanted) == ""


def test_all_faults_are_said_at_once_each_with_place_and_cure() -> None:
    wanted = serving(SagemakerArgs(instance="g5.xlarge", memory_mb=1024), scale=Scale(3, 2))
    with pytest.raises(SpecError) as error:
        run(wanted)
    text = str(error.value)
    assert text.count("target prod") == 3
    assert "write one such as ml.g5.xlarge" in text


def test_long_products_get_names_that_sagemaker_takes_and_that_differ() -> None:
    owners = [dataclasses.replace(OWNER, name="a" * 70 + end) for end in "xy"]
    names = [run(serving(CPU, owner=owner)).one(CONFIGURATION)["name"] for owner in owners]
    assert max(map(len, names)) <= 63
    assert names[0] != names[1]
