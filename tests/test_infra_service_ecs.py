"""The service stack on ECS: what each option makes of the resources."""

import base64
import dataclasses
import json

import pytest
from pulumi_service_parts import GROUND, OWNER, release, run, serving

from infra_pulumi.components.failover import balancer
from infra_pulumi.service import faults
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.wanted import Alarm, Monitors, Rollout, Scale, SecondRegion, Variant
from llmspec.container import SERVING, unknown

CPU = EcsArgs(certificate_arn="arn:aws:acm:eu-central-1:111122223333:certificate/1")
GPU = dataclasses.replace(CPU, instance="g5.xlarge", gpus=1, cpu=4096, memory_mb=15_000)
SERVICE, RULE = "ecs/service:Service", "lb/listenerRule:ListenerRule"


def container(made, side: str = "primary"):
    (found,) = json.loads(made.all("ecs/taskDefinition:TaskDefinition")[f"task-{side}"]["containerDefinitions"])
    return found


def told(wanted) -> str:
    return "\n".join(map(str, faults(wanted)))


def test_the_door_speaks_tls_and_asks_copies_whether_they_are_well() -> None:
    made = run(serving(CPU))
    listener, target = made.one("lb/listener:Listener"), made.one("lb/targetGroup:TargetGroup")
    assert (listener["port"], listener["protocol"], listener["certificateArn"]) == (443, "HTTPS", CPU.certificate_arn)
    assert listener["sslPolicy"].startswith("ELBSecurityPolicy-TLS13")
    assert (target["port"], target["healthCheck"]["path"]) == (8080, "/health")
    assert made.one("lb/loadBalancer:LoadBalancer")["internal"] is True


def test_only_named_ranges_reach_the_door_and_only_the_door_reaches_the_copies() -> None:
    made = run(serving(dataclasses.replace(CPU, open_to=("192.0.2.0/24", "198.51.100.0/24"))))
    rules = made.all("vpc/securityGroupIngressRule:SecurityGroupIngressRule").values()
    assert {rule["cidrIpv4"] for rule in rules if "cidrIpv4" in rule} == {"192.0.2.0/24", "198.51.100.0/24"}
    (inner,) = (rule for rule in rules if "referencedSecurityGroupId" in rule)
    assert (inner["fromPort"], inner["securityGroupId"], inner["referencedSecurityGroupId"]) == (
        8080,
        "balancer-copies-id",
        "balancer-door-id",
    )


def test_a_public_door_stands_in_public_subnets_and_copies_stay_in_private_ones() -> None:
    made = run(serving(dataclasses.replace(CPU, public=True)))
    assert made.one("lb/loadBalancer:LoadBalancer")["subnets"] == list(GROUND.public_subnet_ids)
    assert made.one(SERVICE)["networkConfiguration"]["subnets"] == ["subnet-a", "subnet-b"]


def test_all_at_once_has_a_circuit_breaker_and_alarms_that_both_roll_back() -> None:
    service = run(serving(CPU, rollout=Rollout(rollback_on=(Alarm("p95_latency", ">", 2.0),)))).one(SERVICE)
    assert service["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert service["alarms"] == {"alarmNames": ["bot-prod-rollback-1-p95_latency"], "enable": True, "rollback": True}
    assert "deploymentConfiguration" not in service


def test_a_canary_shifts_between_two_groups_by_a_role_that_may_change_one_rule() -> None:
    made = run(serving(CPU, rollout=Rollout("canary", (10, 100), 600)))
    service = made.one(SERVICE)
    assert service["deploymentConfiguration"]["strategy"] == "CANARY"
    assert service["deploymentConfiguration"]["canaryConfiguration"] == {"canaryPercent": 10, "canaryBakeTimeInMinutes": "10"}
    assert service["alarms"]["rollback"] is True
    assert set(made.all("lb/targetGroup:TargetGroup")) == {"balancer-primary", "balancer-green"}
    (modify,) = (each for _, each in made.statements() if each["Action"] == ["elasticloadbalancing:ModifyRule"])
    assert modify["Resource"] == [f"arn:aws:lb:eu-central-1:111122223333:{next(iter(made.all(RULE)))}"]


def test_linear_steps_become_a_linear_deployment() -> None:
    found = run(serving(CPU, rollout=Rollout("linear", (20, 40, 60, 80, 100), 90))).one(SERVICE)["deploymentConfiguration"]
    assert found["linearConfiguration"] == {"stepPercent": 20, "stepBakeTimeInMinutes": "2"}


def test_a_service_is_waited_for_until_its_steps_are_over() -> None:
    steps = run(serving(CPU, rollout=Rollout("linear", (25, 50, 75, 100), 600))).options[f"{SERVICE} service-primary"]
    assert (steps.customTimeouts.create, steps.customTimeouts.update) == ("3600s", f"{5 * 600 + 3600}s")
    assert run(serving(CPU)).options[f"{SERVICE} service-primary"].customTimeouts.update == "3600s"


def test_variants_are_services_of_their_own_that_share_the_traffic_by_weight() -> None:
    made = run(serving(CPU, variants=(Variant(release(12), 90), Variant(release(13), 10))))
    assert set(made.all(SERVICE)) == {"service-primary", "service-variant-2"}
    (action,) = made.one(RULE)["actions"]
    assert [group["weight"] for group in action["forward"]["targetGroups"]] == [90, 10]
    shown = [{each["name"]: each["value"] for each in container(made, side)["environment"]} for side in ("primary", "variant-2")]
    assert [each["LLMSPEC_RELEASE"] for each in shown] == ["packed-12", "packed-13"]


def test_copies_follow_requests_at_work_and_a_variant_its_share_of_them() -> None:
    variants = (Variant(release(12), 90), Variant(release(13), 10))
    made = run(serving(CPU, scale=Scale(2, 6, 5), variants=variants))
    target = made.all("appautoscaling/target:Target")["scale-variant-2"]
    assert (target["minCapacity"], target["maxCapacity"]) == (2, 6)
    assert target["resourceId"] == "service/bot-prod/variant-2"
    tracking = made.all("appautoscaling/policy:Policy")["track-variant-2"]["targetTrackingScalingPolicyConfiguration"]
    work = tracking["customizedMetricSpecification"]["metrics"][2]
    assert (tracking["targetValue"], work["expression"]) == (5, "FILL(m1, 0) * 0.1 / 60 / m2")
    assert made.all(SERVICE)["service-primary"]["desiredCount"] == 2


def test_without_an_instance_copies_run_on_fargate() -> None:
    made = run(serving(CPU))
    task = made.one("ecs/taskDefinition:TaskDefinition")
    assert (task["requiresCompatibilities"], task["cpu"], task["memory"]) == (["FARGATE"], "2048", "8192")
    assert made.one(SERVICE)["launchType"] == "FARGATE"
    assert not made.all("autoscaling/group:Group")


def test_a_gpu_brings_machines_over_the_zones_that_follow_the_tasks() -> None:
    made = run(serving(GPU, scale=Scale(2, 4, zones=3)))
    template, group = made.one("ec2/launchTemplate:LaunchTemplate"), made.one("autoscaling/group:Group")
    assert template["instanceType"] == "g5.xlarge"
    assert "/gpu/" in template["imageId"]
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert "ECS_CLUSTER=bot-prod" in base64.b64decode(template["userData"]).decode()
    assert group["vpcZoneIdentifiers"] == ["subnet-a", "subnet-b", "subnet-c"]
    assert (group["minSize"], group["maxSize"]) == (2, 8)
    assert container(made)["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    service = made.one(SERVICE)
    assert "launchType" not in service
    assert service["orderedPlacementStrategies"] == [{"type": "spread", "field": "attribute:ecs.availability-zone"}]


def test_what_brings_machines_has_a_name_that_aws_takes_whatever_the_product_is_called() -> None:
    called = run(serving(GPU, owner=dataclasses.replace(OWNER, name="aws-ecs"))).one("ecs/capacityProvider:CapacityProvider")[
        "name"
    ]
    assert called == "machines-aws-ecs-prod"
    assert not called.startswith(("aws", "ecs", "fargate"))


def test_the_container_serves_on_8080_and_logs_to_the_foundations_group() -> None:
    found = container(run(serving(CPU)))
    assert found["command"] == ["serve"]
    assert found["portMappings"][0]["containerPort"] == 8080
    assert found["logConfiguration"]["options"]["awslogs-group"] == GROUND.log_group
    settings = {each["name"]: each["value"] for each in found["environment"]}
    assert settings == {
        "LLMSPEC_MODEL": "s3://acme-llm/bot/onnx/key13/",
        "LLMSPEC_RELEASE": "packed-13",
        "LLMSPEC_STOP_SECONDS": str(found["stopTimeout"]),
        "FORWARDED_ALLOW_IPS": "10.42.0.0/16",
    }


def test_a_secret_is_named_to_ecs_and_never_read_by_the_program() -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:keys-AbCdEf"
    made = run(serving(CPU, release=release(secrets={"HF_TOKEN": arn})))
    assert container(made)["secrets"] == [{"name": "HF_TOKEN", "valueFrom": arn}]
    (reads,) = (each for _, each in made.statements() if each["Action"] == ["secretsmanager:GetSecretValue"])
    assert reads["Resource"] == [arn]
    assert not any("secretsmanager" in str(each) for _, each in run(serving(CPU)).statements())


def test_a_domain_and_its_zone_bring_a_certificate_and_a_record() -> None:
    made = run(serving(EcsArgs(domain="bot.acme.example", zone_id="Z9")))
    assert made.one("acm/certificate:Certificate")["domainName"] == "bot.acme.example"
    assert made.all("route53/record:Record")["address"]["type"] == "A"
    assert made.outputs["url"] == "https://bot.acme.example/v1"


SECOND = SecondRegion("bot.acme.example", "Z9", "bot-prod-1.eu-west-1.elb.amazonaws.com")
NAMED = EcsArgs(domain="bot.acme.example", zone_id="Z9")
RECORD = "route53/record:Record"


def test_with_a_second_region_two_aliases_of_the_name_are_a_pair() -> None:
    records = run(serving(NAMED, monitors=Monitors(second_region=SECOND))).all(RECORD)
    assert set(records) == {"address-proof", "address", "bot-prod-secondary"}
    first, second = records["address"], records["bot-prod-secondary"]
    assert [(each["name"], each["type"], each["zoneId"]) for each in (first, second)] == [("bot.acme.example", "A", "Z9")] * 2
    assert [each["failoverRoutingPolicies"] for each in (first, second)] == [[{"type": "PRIMARY"}], [{"type": "SECONDARY"}]]
    assert first["aliases"] == [{"name": "bot-prod.elb.example", "zoneId": "Z1", "evaluateTargetHealth": True}]
    assert second["aliases"] == [{"name": SECOND.host, "zoneId": "Z-application-eu-west-1", "evaluateTargetHealth": True}]
    assert first["healthCheckId"] == "monitoring-failover-id"
    assert first["setIdentifier"] != second["setIdentifier"]


def test_a_second_region_comes_and_goes_beside_a_record_that_stays() -> None:
    """Route 53 has one kind of routing for a name and type, and Pulumi deletes last: the first record is always one of a pair."""
    alone, pair = (run(serving(NAMED, monitors=Monitors(second_region=second))) for second in (None, SECOND))
    kept = ("name", "type", "zoneId", "setIdentifier", "failoverRoutingPolicies")
    first, again = (made.all(RECORD)["address"] for made in (alone, pair))
    assert [first[key] for key in kept] == [again[key] for key in kept]
    assert "healthCheckId" not in first
    assert first["aliases"][0]["evaluateTargetHealth"] is False, "alone it answers, whatever its health"
    assert alone.options[f"{RECORD} address"].parent == pair.options[f"{RECORD} address"].parent
    assert f"{RECORD} address" in pair.after(f"{RECORD} bot-prod-secondary"), "what was a plain record is one of a pair first"


def test_a_network_load_balancer_may_be_in_the_second_region_and_no_other_host() -> None:
    assert balancer("bot-dr.elb.eu-west-1.amazonaws.com") == ("network", "eu-west-1")
    assert balancer("internal-bot-1.us-gov-west-1.elb.amazonaws.com") == ("application", "us-gov-west-1")
    assert balancer("bot.eu.acme.example") is balancer("eu-west-1.elb.amazonaws.com") is None


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        (serving(EcsArgs()), "HTTPS without a certificate"),
        (serving(dataclasses.replace(CPU, memory_mb=1024)), "write 4096 to 16384"),
        (serving(dataclasses.replace(CPU, cpu=3000)), "cpu is one of"),
        (serving(dataclasses.replace(CPU, gpus=1)), "Fargate has no GPU"),
        (serving(dataclasses.replace(CPU, instance="ml.g5.xlarge")), "write g5.xlarge"),
        (serving(dataclasses.replace(CPU, disk_gb=10)), "21 to 200"),
        (serving(CPU, scale=Scale(zones=1)), "two zones"),
        (serving(CPU, scale=Scale(0, 2)), "endpoint.scale.min"),
        (serving(CPU, scale=Scale(2, 2, 8)), "concurrency_per_copy"),
        (serving(CPU, rollout=Rollout("linear", tuple(range(2, 101, 2)))), "3 or more"),
        (
            serving(CPU, rollout=Rollout("canary", (10, 100)), variants=(Variant(release(12), 90), Variant(release(13), 10))),
            "same weights",
        ),
        (
            serving(dataclasses.replace(CPU, public=True), ground=dataclasses.replace(GROUND, public_subnet_ids=())),
            "no two public subnets",
        ),
        (serving(CPU, monitors=Monitors(second_region=SecondRegion("other.example", "Z9", "x"))), "second_region.domain"),
        (serving(NAMED, monitors=Monitors(second_region=dataclasses.replace(SECOND, host="bot.eu.acme.example"))), "ecs.failover"),
    ],
)
def test_a_limit_of_ecs_is_said_before_anything_is_made(wanted, where) -> None:
    assert where in told(wanted)


def test_harmless_neighbours_of_those_limits_are_silent() -> None:
    for wanted in (serving(CPU), serving(GPU), serving(dataclasses.replace(CPU, public=True)), serving(CPU, scale=Scale(1, 2, 8))):
        assert told(wanted) == ""


def test_the_image_knows_every_setting_that_it_is_given() -> None:
    """A container refuses a variable that means nothing to it, so a program that sets one would never come up."""
    settings = {each["name"]: each["value"] for each in container(run(serving(CPU)))["environment"]}
    assert list(unknown(settings, SERVING)) == []
    assert len([name for name in settings if name.startswith("LLMSPEC_")]) >= 3
