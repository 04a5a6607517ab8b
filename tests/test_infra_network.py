"""Where work stands: zones, doors and ways out."""

import re
from pathlib import Path
from typing import Any

import moto.iam
import pytest
from foundation_parts import small
from pulumi_parts import REGION, _Answers

from backends.places.ecs import Ecs
from backends.places.eks import Eks
from backends.places.sagemaker import SageMaker
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.components.vpc_endpoints import UNWATCHED, prefix
from infra_pulumi.service import PROGRAMS
from llmspec.errors import PlaceError


def test_by_default_nothing_leads_out_of_the_network() -> None:
    world = small(network=NetworkArgs())
    assert not world.of("ec2/internetGateway:InternetGateway")
    assert not world.of("ec2/natGateway:NatGateway")
    assert not world.of("ec2/route:Route")
    assert "work-to-internet" not in world.of("vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert world.exports["public_subnets"] == []


def test_each_zone_has_its_private_subnet() -> None:
    world = small(network=NetworkArgs("10.7.0.0/16", zones=3))
    subnets = world.of("ec2/subnet:Subnet").values()
    assert {subnet.inputs["availabilityZone"] for subnet in subnets} == {f"{REGION}{letter}" for letter in "abc"}
    assert {subnet.inputs["cidrBlock"] for subnet in subnets} == {"10.7.0.0/20", "10.7.16.0/20", "10.7.32.0/20"}
    assert not any(subnet.inputs.get("mapPublicIpOnLaunch") for subnet in subnets)


@pytest.mark.filterwarnings("ignore:coroutine")
def test_more_zones_than_the_region_has_are_refused_in_words() -> None:
    with pytest.raises(PlaceError, match=rf"endpoint\.scale\.zones: 4 asked for, and {REGION} has 3\n  write 3, or choose"):
        small(network=NetworkArgs(zones=4))


def test_a_zone_that_an_account_opted_in_to_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    usual = _Answers.call

    def noted(self: _Answers, args: Any) -> dict[str, Any]:
        asked.append({"token": args.token, **args.args})
        return usual(self, args)

    monkeypatch.setattr(_Answers, "call", noted)
    small(network=NetworkArgs())
    (zones,) = [each for each in asked if "getAvailabilityZones" in each["token"]]
    assert zones["filters"] == [{"name": "opt-in-status", "values": ["opt-in-not-required"]}]


def test_services_have_doors_and_s3_the_free_one() -> None:
    doors = small(network=NetworkArgs()).of("ec2/vpcEndpoint:VpcEndpoint")
    assert set(doors) == {
        f"door-{name}" for name in ("s3", "ecr.api", "ecr.dkr", "logs", "kms", "sagemaker.api", "sagemaker.runtime")
    }
    assert doors["door-s3"].inputs["vpcEndpointType"] == "Gateway"
    assert len(doors["door-kms"].inputs["subnetIds"]) == 2
    assert doors["door-kms"].inputs["privateDnsEnabled"] is True
    assert set(small(network=NetworkArgs(services=("logs",))).of("ec2/vpcEndpoint:VpcEndpoint")) == {"door-s3", "door-logs"}


def test_gateways_are_as_many_as_asked_for_and_every_zone_goes_out() -> None:
    one = small(network=NetworkArgs(zones=3, nat_gateways=1))
    assert set(one.of("ec2/natGateway:NatGateway")) == {"nat-1"}
    assert {route.inputs["natGatewayId"] for name, route in one.of("ec2/route:Route").items() if name != "public"} == {"nat-1-id"}
    three = small(network=NetworkArgs(zones=3, nat_gateways=3))
    used = [route.inputs["natGatewayId"] for name, route in sorted(three.of("ec2/route:Route").items()) if name != "public"]
    assert used == ["nat-1-id", "nat-2-id", "nat-3-id"]


def test_public_subnets_come_without_a_gateway_to_pay_for() -> None:
    world = small(network=NetworkArgs(public_subnets=True))
    assert len(world.exports["public_subnets"]) == 2
    assert not world.of("ec2/natGateway:NatGateway")


def test_nobody_leans_on_the_default_group_and_who_spoke_to_whom_is_logged() -> None:
    world = small(network=NetworkArgs())
    closed = world.one("ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert closed["ingress"] == closed["egress"] == []
    assert world.one("ec2/flowLog:FlowLog").inputs["trafficType"] == "ALL"


def test_work_speaks_to_itself_and_to_services_over_https() -> None:
    rules = small(network=NetworkArgs()).of("vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert {name: rule.inputs.get("toPort") for name, rule in rules.items()} == {
        "work-among-itself": None,
        "work-to-s3": 443,
        "work-to-doors": 443,
    }


def test_what_a_door_lets_through_begins_as_iam_calls_it() -> None:
    places = (Ecs(instance="g5.xlarge"), Eks(), SageMaker(instance="ml.g5.xlarge"))
    asked = {door for place in places for door in place.doors("endpoint") or ()} | {"secretsmanager", "bedrock-runtime"}
    asked |= {door for program in PROGRAMS.values() for door in program.doors}
    known = set(re.findall(r'"([a-z0-9-]+):[A-Z*]', Path(moto.iam.__file__).with_name("aws_managed_policies.py").read_text()))
    assert {prefix(door) for door in asked if door not in UNWATCHED} <= known
    assert (prefix("bedrock-runtime"), prefix("monitoring"), prefix("sagemaker.runtime")) == ("bedrock", "cloudwatch", "sagemaker")


def test_the_agent_of_ecs_passes_a_door_without_a_policy() -> None:
    services = ("ecs", "ecs-agent", "ecs-telemetry", "monitoring")
    made = small(network=NetworkArgs(services=services)).of("ec2/vpcEndpoint:VpcEndpoint")
    assert {name for name, door in made.items() if "policy" not in door.inputs} == {"door-ecs-agent", "door-ecs-telemetry"}
    (statement,) = next(made["door-monitoring"].documents())["Statement"]
    assert statement["Action"] == ["cloudwatch:*"]
