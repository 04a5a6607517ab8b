"""Spark, events and people: what is asked for changes what is made."""

from typing import Any

import pytest
from foundation_parts import allowed, reach, small
from pulumi_parts import World

from infra_pulumi.components.access import AccessArgs
from infra_pulumi.components.cluster import ClusterArgs
from infra_pulumi.components.data import DataArgs
from infra_pulumi.components.events import EventsArgs


def test_spark_costs_nothing_at_rest_and_no_more_than_its_ceiling() -> None:
    world = small(data=DataArgs("emr-7.14.0", 16, 64, 200, 5))
    spark = world.one("emrserverless/application:Application").inputs
    assert "initialCapacities" not in spark
    assert spark["maximumCapacity"] == {"cpu": "16 vCPU", "memory": "64 GB", "disk": "200 GB"}
    assert spark["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 5}
    assert spark["releaseLabel"] == "emr-7.14.0"
    assert "networkConfiguration" not in spark
    assert world.one("glue/catalogDatabase:CatalogDatabase").inputs["name"] == "bot_prod"


def test_spark_stands_in_the_network_where_there_is_one(full_ground: World) -> None:
    inside = full_ground.one("emrserverless/application:Application").inputs["networkConfiguration"]
    assert inside == {"subnetIds": ["private-1-id", "private-2-id"], "securityGroupIds": ["work-id"]}


def test_what_spark_unpacks_is_built_with_the_training_image_where_there_is_a_spark() -> None:
    def told(world: World, image: str) -> dict[str, str]:
        machine = world.one("codebuild/project:Project", f"build-{image}").inputs["environment"]
        return {each["name"]: each["value"] for each in machine["environmentVariables"]}

    with_spark = small(data=DataArgs())
    assert told(with_spark, "training")["SPARK_ARCHIVES"] == "s3://acme-llm/models/bot/code"
    assert "SPARK_ARCHIVES" not in told(with_spark, "serving")
    assert "SPARK_ARCHIVES" not in told(small(), "training")


def test_jobs_at_ecs_have_a_cluster_that_holds_no_machine() -> None:
    world = small(cluster=ClusterArgs(insights=True))
    cluster = world.one("ecs/cluster:Cluster").inputs
    assert (cluster["name"], cluster["settings"]) == ("bot-prod-jobs", [{"name": "containerInsights", "value": "enabled"}])
    assert world.one("ecs/clusterCapacityProviders:ClusterCapacityProviders").inputs["capacityProviders"] == ["FARGATE"]
    assert world.exports["cluster"] == "bot-prod-jobs"
    assert not small().of("ecs/cluster:Cluster")


def test_events_reach_their_own_folders_encrypted() -> None:
    world = small(events=EventsArgs(wait_seconds=60, wait_mb=5))
    journal = world.one("kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", "stream-journal").inputs
    into = journal["extendedS3Configuration"]
    assert into["prefix"] == "models/bot/journal/day=!{timestamp:yyyy-MM-dd}/"
    assert (into["bufferingInterval"], into["bufferingSize"], into["compressionFormat"]) == (60, 5, "GZIP")
    assert into["kmsKeyArn"].endswith("key-data")
    assert journal["serverSideEncryption"]["keyType"] == "CUSTOMER_MANAGED_CMK"
    assert reach(allowed(world, "events"), "s3:PutObject") == {
        f"arn:aws:s3:::acme-llm/models/bot/{folder}/*" for folder in ("journal", "engagement", "undelivered")
    }


def test_people_are_let_in_by_admins_into_three_groups(full_ground: World) -> None:
    pool = full_ground.one("cognito/userPool:UserPool")
    assert pool.inputs["adminCreateUserConfig"] == {"allowAdminCreateUserOnly": True}
    assert (pool.inputs["mfaConfiguration"], pool.inputs["deletionProtection"], pool.keeps) == ("ON", "ACTIVE", True)
    assert set(full_ground.of("cognito/userGroup:UserGroup")) == {"admin", "developer", "user"}
    client = full_ground.one("cognito/userPoolClient:UserPoolClient").inputs
    assert client["callbackUrls"] == ["https://bot.acme.example/"]
    assert client["allowedOauthFlows"] == ["code"]


def test_without_a_page_to_sign_in_at_there_is_none() -> None:
    world = small(access=AccessArgs(mfa_required=False, session_minutes=15, keep=False))
    assert not world.of("cognito/userPoolDomain:UserPoolDomain")
    assert "allowedOauthFlows" not in world.one("cognito/userPoolClient:UserPoolClient").inputs
    assert world.one("cognito/userPoolClient:UserPoolClient").inputs["accessTokenValidity"] == 15
    pool = world.one("cognito/userPool:UserPool")
    assert (pool.inputs["mfaConfiguration"], pool.inputs["deletionProtection"], pool.keeps) == ("OPTIONAL", "INACTIVE", False)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [({"domain": "acme"}, "both"), ({"domain": "acme", "callback_urls": ("http://bot.acme.example/",)}, "without TLS")],
)
def test_a_page_that_would_leak_is_refused(wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        AccessArgs(**wrong)
