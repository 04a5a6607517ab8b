"""Each part of the foundation: what is asked for changes what is made, as it should."""

import json
from dataclasses import replace
from typing import Any

import pytest
from foundation_parts import FULL, GITHUB, STORE, full, small
from pulumi_parts import REGION, World

from infra_pulumi.components.access import AccessArgs
from infra_pulumi.components.audit import AuditArgs
from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.cost import CostArgs
from infra_pulumi.components.data import DataArgs
from infra_pulumi.components.deploy import DeployArgs
from infra_pulumi.components.events import EventsArgs
from infra_pulumi.components.identity import IdentityArgs
from infra_pulumi.components.keys import KeysArgs
from infra_pulumi.components.logs import LogsArgs
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.components.registry import RegistryArgs


@pytest.fixture(scope="module")
def plain() -> World:
    return small()


@pytest.fixture(scope="module")
def everything() -> World:
    return full()


def allowed(world: World, role: str) -> list[dict[str, Any]]:
    """What a role may do."""
    (document,) = world.one("iam/rolePolicy:RolePolicy", role).documents()
    statements = document["Statement"]
    assert isinstance(statements, list)
    return statements


def trusted(world: World, role: str) -> list[dict[str, Any]]:
    """Who takes a role on."""
    statements = json.loads(world.one("iam/role:Role", role).inputs["assumeRolePolicy"])["Statement"]
    assert isinstance(statements, list)
    return statements


def reach(statements: list[dict[str, Any]], action: str) -> set[str]:
    return {resource for each in statements if action in each["Action"] for resource in each["Resource"]}


# --- keys


def test_keys_rotate_and_are_not_gone_at_once(plain: World) -> None:
    for key in plain.of("kms/key:Key").values():
        assert key.inputs["enableKeyRotation"] is True
        assert (key.inputs["rotationPeriodInDays"], key.inputs["deletionWindowInDays"]) == (365, 30)
        assert key.keeps
    quick = small(keys=KeysArgs(rotation_days=90, deletion_days=7, keep=False)).one("kms/key:Key", "key-data")
    assert (quick.inputs["rotationPeriodInDays"], quick.inputs["deletionWindowInDays"], quick.keeps) == (90, 7, False)


def test_copies_elsewhere_have_a_key_there() -> None:
    world = small(storage=replace(STORE, replicate_to="eu-west-1"), backup=BackupArgs(copy_to="eu-north-1"))
    assert {key.provider for key in world.of("kms/key:Key").values()} == {"aws", "aws-eu-west-1", "aws-eu-north-1"}


def test_only_our_log_groups_and_trail_use_the_key_of_logs(plain: World) -> None:
    (document,) = plain.one("kms/key:Key", "key-logs").documents()
    fences = [each["Condition"] for each in document["Statement"][1:]]
    assert "log-group:/llmspec/bot-prod/*" in json.dumps(fences[0])
    assert "trail/bot-prod" in json.dumps(fences[1])
    assert fences[2] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


# --- storage


def test_every_bucket_is_versioned_private_encrypted_and_speaks_tls_only(everything: World) -> None:
    buckets = set(everything.of("s3/bucket:Bucket"))
    assert buckets == {"store", "access-log", "replica", "trails"}
    for name in buckets:
        block = everything.one("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", name).inputs
        assert all(
            block[each] is True for each in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        )
        assert everything.one("s3/bucketVersioning:BucketVersioning", name).inputs["versioningConfiguration"] == {
            "status": "Enabled"
        }
        (policy,) = everything.one("s3/bucketPolicy:BucketPolicy", name).documents()
        refused = [each["Condition"] for each in policy["Statement"] if each["Effect"] == "Deny" and each["Principal"] == "*"]
        assert refused == [{"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": "1.2"}}]


def encryption(world: World, name: str) -> dict[str, Any]:
    (rule,) = world.one("s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", name).inputs["rules"]
    return {**rule["applyServerSideEncryptionByDefault"], "bucketKey": rule["bucketKeyEnabled"]}


def test_buckets_are_encrypted_by_our_keys_and_ask_for_them_rarely(everything: World) -> None:
    for name, key in {"store": "key-data", "replica": "key-copy-eu-west-1", "trails": "key-logs"}.items():
        found = encryption(everything, name)
        assert found["sseAlgorithm"] == "aws:kms"
        assert found["kmsMasterKeyId"].endswith(key)
        assert found["bucketKey"] is True
    assert encryption(everything, "access-log") == {"sseAlgorithm": "AES256", "bucketKey": False}


def lifecycle(world: World, name: str) -> dict[str, int]:
    rules = world.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", name).inputs["rules"]
    return {rule["filter"]["prefix"]: rule["expiration"]["days"] for rule in rules if "days" in rule.get("expiration", {})}


def test_retention_rules_expire_what_they_speak_of_in_the_copy_too(everything: World) -> None:
    folders = {"data": 365, "features": 365, "journal": 30, "engagement": 30, "undelivered": 30, "capture": 30}
    wanted = {f"models/bot/{folder}/": days for folder, days in folders.items()}
    assert lifecycle(everything, "store") == lifecycle(everything, "replica") == wanted


def test_without_retention_nothing_current_expires_but_what_was_deleted_is_erased(plain: World) -> None:
    assert lifecycle(plain, "store") == {}
    (rule,) = plain.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "store").inputs["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    sooner = small(storage=replace(STORE, noncurrent_days=3))
    (rule,) = sooner.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "store").inputs["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 3}


def test_who_touches_the_store_is_logged_and_the_log_goes_in_time(plain: World) -> None:
    assert plain.one("s3/bucketLogging:BucketLogging", "store").inputs["targetBucket"] == "acme-llm-log"
    assert lifecycle(plain, "access-log") == {"": 365}
    assert lifecycle(small(storage=replace(STORE, access_log_days=30)), "access-log") == {"": 30}


def test_the_store_is_copied_to_a_second_region_only_when_one_is_named(plain: World, everything: World) -> None:
    assert not plain.of("s3/bucketReplicationConfig:BucketReplicationConfig")
    (rule,) = everything.one("s3/bucketReplicationConfig:BucketReplicationConfig").inputs["rules"]
    assert rule["destination"]["bucket"] == "arn:aws:s3:::acme-llm-eu-west-1"
    assert rule["destination"]["encryptionConfiguration"]["replicaKmsKeyId"].endswith("key-copy-eu-west-1")
    assert rule["sourceSelectionCriteria"] == {"sseKmsEncryptedObjects": {"status": "Enabled"}}
    assert everything.one("s3/bucket:Bucket", "replica").provider == "aws-eu-west-1"


def test_destroy_leaves_the_store_and_what_protects_it_unless_told_otherwise(plain: World) -> None:
    about = [made for made in plain.made if made.name == "store" and made.kind.startswith("aws:s3/")]
    assert len(about) == 8
    assert all(made.keeps for made in about)
    assert not small(storage=replace(STORE, keep=False)).one("s3/bucket:Bucket", "store").keeps


def test_a_store_without_a_prefix_begins_with_the_product() -> None:
    assert small(storage=replace(STORE, prefix="")).exports["product"] == "bot/"


# --- identity


def test_each_job_writes_its_own_folders_and_nobody_elses(plain: World) -> None:
    written = {
        role: reach(allowed(plain, role), "s3:PutObject") for role in ("data", "training", "evaluation", "endpoint", "monitors")
    }
    product = "arn:aws:s3:::acme-llm/models/bot"
    assert written == {
        "data": {f"{product}/data/*"},
        "training": {f"{product}/{folder}/*" for folder in ("features", "model", "onnx", "checkpoints")},
        "evaluation": {f"{product}/evaluation/*"},
        "endpoint": {f"{product}/capture/*"},
        "monitors": {f"{product}/monitors/*"},
    }
    assert reach(allowed(plain, "build"), "s3:PutObject") == set()


def test_the_endpoint_reads_what_it_serves_and_no_rows(plain: World) -> None:
    read = reach(allowed(plain, "endpoint"), "s3:GetObject")
    assert read == {f"arn:aws:s3:::acme-llm/models/bot/{folder}/*" for folder in ("onnx", "releases", "capture")}


def test_only_the_data_job_reads_sources_outside_the_store(everything: World) -> None:
    rows = "arn:aws:s3:::acme-support/tickets/*"
    assert {role for role in everything.exports["roles"] if rows in reach(allowed(everything, role), "s3:GetObject")} == {"data"}
    assert "arn:aws:kms:eu-central-1:1:key/support" in reach(allowed(everything, "data"), "kms:Decrypt")


def test_a_source_that_is_a_whole_bucket_says_so() -> None:
    world = small(identity=IdentityArgs(("s3://acme-support",)))
    (whole,) = [each for each in allowed(world, "data") if "arn:aws:s3:::acme-support/*" in each["Resource"]]
    assert whole["Sid"] == "ASourceThatNamesNoFolderIsTheWholeBucket"


def test_services_take_roles_on_for_this_account_only(plain: World) -> None:
    services = {role: {each["Principal"]["Service"] for each in trusted(plain, role)} for role in ("data", "endpoint", "build")}
    assert services == {
        "data": {"emr-serverless.amazonaws.com", "sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com"},
        "endpoint": {"sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com"},
        "build": {"codebuild.amazonaws.com"},
    }
    assert all("aws:SourceAccount" in json.dumps(each["Condition"]) for role in services for each in trusted(plain, role))


def test_no_job_crosses_the_boundary(plain: World) -> None:
    roles = [plain.one("iam/role:Role", role) for role in plain.exports["roles"]]
    assert all(role.inputs["permissionsBoundary"].endswith("bot-prod-boundary") for role in roles)
    (ceiling,) = plain.one("iam/policy:Policy", "boundary").documents()
    services = {action.split(":")[0] for each in ceiling["Statement"] for action in each["Action"]}
    assert not services & {"iam", "sts", "cloudtrail", "organizations", "lambda"}


def test_the_boundary_holds_all_that_any_job_is_given(everything: World) -> None:
    (ceiling,) = everything.one("iam/policy:Policy", "boundary").documents()
    below = {action for each in ceiling["Statement"] for action in each["Action"]}
    given = {action for role in everything.exports["roles"] for each in allowed(everything, role) for action in each["Action"]}
    assert given - below == set()


def test_jobs_are_given_network_cards_only_where_there_is_a_network(plain: World, everything: World) -> None:
    card = "ec2:CreateNetworkInterface"
    assert not [role for role in plain.exports["roles"] if reach(allowed(plain, role), card)]
    assert {role for role in everything.exports["roles"] if reach(allowed(everything, role), card)} == set(
        everything.exports["roles"]
    ) - {"build"}


def test_github_is_let_in_by_both_forms_of_its_subject(everything: World) -> None:
    (door,) = trusted(everything, "deploy")
    assert door["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": [
                "repo:acme/bot:environment:prod",
                "repo:acme@1234/bot@5678:environment:prod",
            ],
        }
    }


def test_without_githubs_numbers_any_number_of_that_name_is_let_in() -> None:
    world = small(identity=IdentityArgs(deploy=DeployArgs("acme/bot", "prod")))
    (door,) = trusted(world, "deploy")
    assert door["Condition"]["StringLike"] == {
        "token.actions.githubusercontent.com:sub": ["repo:acme/bot:environment:prod", "repo:acme@*/bot@*:environment:prod"]
    }


def test_githubs_provider_is_made_unless_the_account_has_it(plain: World, everything: World) -> None:
    assert everything.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    assert not plain.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    known = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    world = small(identity=IdentityArgs(deploy=replace(GITHUB, provider_arn=known)))
    assert not world.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    assert trusted(world, "deploy")[0]["Principal"] == {"Federated": known}


def test_github_hands_on_named_roles_to_named_services(everything: World) -> None:
    (passing,) = [each for each in allowed(everything, "deploy") if each["Action"] == ["iam:PassRole"]]
    assert set(everything.exports["roles"].values()) <= set(passing["Resource"])
    assert "sagemaker.amazonaws.com" in passing["Condition"]["StringEquals"]["iam:PassedToService"]


def test_github_makes_roles_below_the_boundary_only_and_cannot_lift_it(everything: World) -> None:
    statements = allowed(everything, "deploy")
    (making,) = [each for each in statements if "iam:CreateRole" in each["Action"]]
    assert making["Condition"]["StringEquals"]["iam:PermissionsBoundary"].endswith("bot-prod-boundary")
    own = {f"arn:aws:iam::123456789012:role/{role.inputs['name']}" for role in everything.of("iam/role:Role").values()}
    assert making["Resource"]
    assert not set(making["Resource"]) & own
    asked = {action for each in statements for action in each["Action"]}
    assert not asked & {
        "iam:PutRolePermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary",
        "iam:UpdateAssumeRolePolicy",
        "iam:CreatePolicyVersion",
    }


def test_github_may_work_only_where_the_spec_works() -> None:
    world = small(identity=IdentityArgs(deploy=DeployArgs("acme/bot", "prod", places=("lambda",))))
    assert set(world.of("iam/policy:Policy")) == {"boundary", "deploy-lambda"}
    (document,) = world.one("iam/policy:Policy", "deploy-lambda").documents()
    assert {action.split(":")[0] for each in document["Statement"] for action in each["Action"]} == {"lambda", "apigateway"}


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"repository": "acme"}, "OWNER/NAME"),
        ({"repository": "acme/*"}, r"'\*'"),
        ({"owner_id": 1}, "or neither"),
        ({"places": ("eks",)}, "no calls are known for eks"),
    ],
)
def test_a_door_that_would_not_hold_is_refused(wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        DeployArgs(**{"repository": "acme/bot", "environment": "prod", **wrong})


# --- registry and logs


def test_a_tag_names_one_image_for_ever_and_images_are_scanned(plain: World) -> None:
    for repository in plain.of("ecr/repository:Repository").values():
        assert repository.inputs["imageTagMutability"] == "IMMUTABLE"
        assert repository.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert repository.inputs["encryptionConfigurations"][0]["encryptionType"] == "KMS"


def test_images_are_built_from_the_bundle_in_the_store(plain: World) -> None:
    project = plain.one("codebuild/project:Project", "build-serving").inputs
    assert project["source"] == {
        "type": "S3",
        "location": "acme-llm/models/bot/code/images.zip",
        "buildspec": "containers/buildspec.yml",
    }
    assert project["serviceRole"].endswith("bot-prod-build")
    assert project["environment"]["privilegedMode"] is True
    other = small(registry=RegistryArgs("code/x.zip", "b.yml", "BUILD_GENERAL1_SMALL", 15, True, 3))
    project = other.one("codebuild/project:Project", "build-training").inputs
    assert project["source"]["location"] == "acme-llm/models/bot/code/x.zip"
    assert (project["source"]["buildspec"], project["environment"]["computeType"], project["buildTimeout"]) == (
        "b.yml",
        "BUILD_GENERAL1_SMALL",
        15,
    )
    rules = json.loads(other.one("ecr/lifecyclePolicy:LifecyclePolicy", "image-serving").inputs["policy"])["rules"]
    assert [rule["selection"]["countNumber"] for rule in rules] == [3]
    assert other.one("ecr/repository:Repository", "image-serving").keeps


def test_lambda_and_emr_fetch_images_only_for_our_functions_and_runs(plain: World) -> None:
    (serving,) = plain.one("ecr/repositoryPolicy:RepositoryPolicy", "image-serving").documents()
    assert serving["Statement"][0]["Condition"] == {
        "ArnLike": {"aws:SourceArn": f"arn:aws:lambda:{REGION}:123456789012:function:bot-prod-*"}
    }


def test_logs_are_encrypted_and_kept_as_long_as_is_said() -> None:
    world = small(logs=LogsArgs(keep_days=30))
    assert {group.inputs["retentionInDays"] for group in world.of("cloudwatch/logGroup:LogGroup").values()} == {30}
    assert all(group.inputs["kmsKeyId"].endswith("key-logs") for group in world.of("cloudwatch/logGroup:LogGroup").values())


# --- network


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


def test_services_have_doors_and_s3_the_free_one() -> None:
    doors = small(network=NetworkArgs()).of("ec2/vpcEndpoint:VpcEndpoint")
    assert set(doors) == {
        f"door-{name}" for name in ("s3", "ecr.api", "ecr.dkr", "logs", "kms", "sagemaker.api", "sagemaker.runtime")
    }
    assert doors["door-s3"].inputs["vpcEndpointType"] == "Gateway"
    assert len(doors["door-kms"].inputs["subnetIds"]) == 2
    assert doors["door-kms"].inputs["privateDnsEnabled"] is True
    assert set(small(network=NetworkArgs(services=("logs",))).of("ec2/vpcEndpoint:VpcEndpoint")) == {"door-s3", "door-logs"}


def test_events_have_a_door_of_their_own_where_there_is_a_network() -> None:
    doors = small(network=NetworkArgs(), events=EventsArgs()).of("ec2/vpcEndpoint:VpcEndpoint")
    assert "door-kinesis-firehose" in doors


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


# --- data, events, access


def test_spark_costs_nothing_at_rest_and_no_more_than_its_ceiling() -> None:
    world = small(data=DataArgs("emr-7.14.0", 16, 64, 200, 5))
    spark = world.one("emrserverless/application:Application").inputs
    assert "initialCapacities" not in spark
    assert spark["maximumCapacity"] == {"cpu": "16 vCPU", "memory": "64 GB", "disk": "200 GB"}
    assert spark["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 5}
    assert spark["releaseLabel"] == "emr-7.14.0"
    assert "networkConfiguration" not in spark
    assert world.one("glue/catalogDatabase:CatalogDatabase").inputs["name"] == "bot_prod"


def test_spark_stands_in_the_network_where_there_is_one(everything: World) -> None:
    inside = everything.one("emrserverless/application:Application").inputs["networkConfiguration"]
    assert inside == {"subnetIds": ["private-1-id", "private-2-id"], "securityGroupIds": ["work-id"]}


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


def test_people_are_let_in_by_admins_into_three_groups(everything: World) -> None:
    pool = everything.one("cognito/userPool:UserPool")
    assert pool.inputs["adminCreateUserConfig"] == {"allowAdminCreateUserOnly": True}
    assert (pool.inputs["mfaConfiguration"], pool.inputs["deletionProtection"], pool.keeps) == ("ON", "ACTIVE", True)
    assert set(everything.of("cognito/userGroup:UserGroup")) == {"admin", "developer", "user"}
    client = everything.one("cognito/userPoolClient:UserPoolClient").inputs
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


# --- audit, backup, cost


def test_every_call_and_every_object_of_the_product_is_on_the_trail(everything: World) -> None:
    trail = everything.one("cloudtrail/trail:Trail").inputs
    assert trail["isMultiRegionTrail"] is trail["enableLogFileValidation"] is True
    calls, objects = (each["fieldSelectors"] for each in trail["advancedEventSelectors"])
    assert calls == [{"field": "eventCategory", "equals": ["Management"]}]
    assert objects[-1] == {"field": "resources.ARN", "startsWiths": ["arn:aws:s3:::acme-llm/models/bot/"]}
    assert lifecycle(everything, "trails") == {"": 365}
    assert lifecycle(small(audit=AuditArgs(keep_days=30)), "trails") == {"": 30}


def test_no_job_and_no_deployment_may_write_trails(everything: World) -> None:
    touched = [
        (made.name, statement["Resource"])
        for made, statement in everything.statements()
        if "acme-llm-trails" in json.dumps(statement.get("Resource", "")) and made.name not in ("trails", "config")
    ]
    assert touched == []


def test_the_ai_standard_is_subscribed_to(everything: World) -> None:
    standards = everything.of("securityhub/standardsSubscription:StandardsSubscription")
    arn = standards["ai-security-best-practices"].inputs["standardsArn"]
    assert arn == f"arn:aws:securityhub:{REGION}::standards/ai-security-best-practices/v/1.0.0"


def test_what_an_account_has_once_can_be_left_alone() -> None:
    kinds = {
        made.kind.split(":")[1].split("/")[0]
        for made in small(audit=AuditArgs(config=False, security_hub=False, inspector=False)).made
    }
    assert "cloudtrail" in kinds
    assert not kinds & {"cfg", "securityhub", "inspector2"}


def test_config_measures_what_we_make_by_rules_once_it_records(everything: World) -> None:
    rules = everything.of("cfg/rule:Rule")
    assert {"rule-tls-only", "rule-keys-rotate", "rule-trail-on", "rule-images-scanned"} <= set(rules)
    assert all(any("RecorderStatus" in urn for urn in rule.after) for rule in rules.values())
    group = everything.one("cfg/recorder:Recorder").inputs["recordingGroup"]
    assert group["allSupported"] is False
    assert "AWS::SageMaker::EndpointConfig" in group["resourceTypes"]


@pytest.mark.parametrize(
    ("hours", "schedule"),
    [(24, "cron(0 3 * * ? *)"), (168, "cron(0 3 ? * MON *)"), (6, "cron(0 3/6 * * ? *)"), (1, "cron(0 0/1 * * ? *)")],
)
def test_backups_are_made_as_often_as_is_said(hours: int, schedule: str) -> None:
    (rule,) = small(backup=BackupArgs(every_hours=hours)).one("backup/plan:Plan").inputs["rules"]
    assert rule["schedule"] == schedule


def test_backups_live_as_long_as_is_said_here_and_in_the_second_region(everything: World) -> None:
    (rule,) = everything.one("backup/plan:Plan").inputs["rules"]
    assert rule["lifecycle"] == {"deleteAfter": 35}
    assert [(copy["destinationVaultArn"].split(":")[-1], copy["lifecycle"]) for copy in rule["copyActions"]] == [
        ("bot-prod-copy", {"deleteAfter": 35})
    ]
    assert everything.one("backup/vault:Vault", "copy").provider == "aws-eu-west-1"
    assert {
        lock.inputs["minRetentionDays"] for lock in everything.of("backup/vaultLockConfiguration:VaultLockConfiguration").values()
    } == {35}
    assert everything.one("backup/selection:Selection").inputs["resources"] == ["arn:aws:s3:::acme-llm"]


def test_without_a_second_region_and_a_lock_there_is_one_vault_that_can_be_emptied() -> None:
    world = small(backup=BackupArgs(keep_days=7, keep=False))
    assert set(world.of("backup/vault:Vault")) == {"vault"}
    assert not world.of("backup/vaultLockConfiguration:VaultLockConfiguration")
    assert not world.one("backup/vault:Vault").keeps
    (rule,) = world.one("backup/plan:Plan").inputs["rules"]
    assert (rule["lifecycle"], rule.get("copyActions")) == ({"deleteAfter": 7}, [])


def test_a_budget_warns_before_it_is_spent_and_when_it_will_be() -> None:
    world = small(cost=CostArgs(500, 0.8, ("a@acme.example", "b@acme.example")))
    budget = world.one("budgets/budget:Budget").inputs
    assert (budget["limitAmount"], budget["limitUnit"], budget["timeUnit"]) == ("500.0", "USD", "MONTHLY")
    assert budget["costFilters"] == [{"name": "TagKeyValue", "values": ["user:llmspec:name$bot"]}]
    assert [(each["notificationType"], each["threshold"]) for each in budget["notifications"]] == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    assert {each.inputs["endpoint"] for each in world.of("sns/topicSubscription:TopicSubscription").values()} == {
        "a@acme.example",
        "b@acme.example",
    }


def test_an_unusual_day_is_told() -> None:
    watch = small(cost=CostArgs(500, unusual_usd=7)).one("costexplorer/anomalySubscription:AnomalySubscription").inputs
    assert watch["thresholdExpression"]["dimension"]["values"] == ["7"]
    assert watch["frequency"] == "IMMEDIATE"


def test_tags_are_activated_for_bills_only_when_asked(everything: World) -> None:
    assert {tag.inputs["tagKey"] for tag in everything.of("costexplorer/costAllocationTag:CostAllocationTag").values()} == {
        "llmspec:name",
        "llmspec:target",
        "llmspec:stage",
        "cost-center",
    }
    assert not small(cost=CostArgs(1)).of("costexplorer/costAllocationTag:CostAllocationTag")


@pytest.mark.parametrize("wrong", [{"monthly_usd": 0}, {"monthly_usd": 5, "warn_at": 0}, {"monthly_usd": 5, "warn_at": 1.5}])
def test_a_budget_that_warns_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="warn_at"):
        CostArgs(**wrong)


def test_the_conform_program_has_every_part_on() -> None:
    from conform.foundation_full import FULL as CONFORM

    assert [name for name in FULL if getattr(CONFORM, name) is None] == []
