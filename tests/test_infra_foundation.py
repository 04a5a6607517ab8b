"""The foundation as a whole: everything is tagged, nothing reaches too far, no secret is in plain text."""

import importlib
import inspect
import json
import re
from dataclasses import replace

import botocore.session
import pytest
from conform.foundation_full import FULL as CONFORM
from foundation_parts import FULL, OWNER, STORE, full, small
from pulumi_parts import REGION, Made, World, made_by

from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.identity import IdentityArgs
from infra_pulumi.components.network import NetworkArgs
from infra_pulumi.components.storage import StorageArgs
from infra_pulumi.foundation import FoundationArgs, foundation
from infra_pulumi.owner import Owner
from infra_pulumi.policies import wildcards


def takes_tags(made: Made) -> bool:
    """As the provider's own classes say."""
    module, kind = made.kind.removeprefix("aws:").split("/")
    name = {"lambda": "lambda_"}.get(module, module)
    return (
        "tags"
        in inspect.signature(getattr(importlib.import_module(f"pulumi_aws.{name}"), kind.split(":")[1])._internal_init).parameters
    )


def test_whatever_takes_tags_says_whose_it_is(full_ground: World) -> None:
    bare = [
        f"{made.kind} {made.name}"
        for made in full_ground.made
        if takes_tags(made)
        and not OWNER.tagged(made.inputs.get("tags", {}).get("llmspec:stage", "")).items() <= made.inputs.get("tags", {}).items()
    ]
    assert bare == []
    assert sum(takes_tags(made) for made in full_ground.made) > 60


def test_no_statement_of_any_policy_has_a_wildcard_without_a_written_reason(full_ground: World) -> None:
    silent = [
        f"{made.name}: {statement}"
        for made, statement in full_ground.statements()
        if wildcards(statement) and not statement.get("Sid")
    ]
    assert silent == []
    assert len(list(full_ground.statements())) > 120


def test_no_job_may_do_everything_that_a_service_offers(full_ground: World) -> None:
    """Only a key's account, a door of the network and a refusal say `service:*`."""
    wide = {
        (made.kind.split(":")[-1], made.name.split("-")[0])
        for made, statement in full_ground.statements()
        if statement["Effect"] == "Allow" and any(action.endswith(":*") for action in statement["Action"])
    }
    assert wide == {("Key", "key"), ("VpcEndpoint", "door")}


def test_every_action_is_one_that_aws_knows(full_ground: World) -> None:
    """A misspelt action is granted silently and missed at night. What no SDK calls under that name is listed."""
    no_call = {
        "budgets:ViewBudget",
        "ecs:Poll",
        "ecs:StartTelemetrySession",
        "iam:PassRole",
        "lambda:InvokeFunction",
        "sts:TagSession",
    }
    at_run_time = {
        "bedrock:InvokeModel",
        "bedrock:InvokeModelWithResponseStream",
        "sagemaker:InvokeEndpoint",
        "sagemaker:InvokeEndpointWithResponseStream",
        "sagemaker:CallWithBearerToken",
    }
    apis = {"elasticloadbalancing": "elbv2", "tag": "resourcegroupstaggingapi"}
    session = botocore.session.get_session()
    asked = {tuple(action.split(":")) for _, statement in full_ground.statements() for action in statement["Action"]}
    unknown = {
        f"{service}:{verb}"
        for service, verb in asked
        if verb != "*"
        and service not in ("s3", "apigateway")
        and f"{service}:{verb}" not in no_call | at_run_time
        and verb not in session.get_service_model(apis.get(service, service)).operation_names
    }
    assert unknown == set()


def test_no_statement_allows_for_all_values_since_that_holds_for_none_too(full_ground: World) -> None:
    tests = {test for _, statement in full_ground.statements() for test in statement.get("Condition", {})}
    assert tests
    assert not [test for test in tests if test.startswith("ForAllValues")]


def test_whoever_is_anybody_is_refused_or_asked_for_an_account(full_ground: World) -> None:
    open_doors = [
        (made.name, statement["Resource"])
        for made, statement in full_ground.statements()
        if statement.get("Principal") == {"AWS": "*"}
        and statement["Effect"] == "Allow"
        and "aws:PrincipalAccount" not in json.dumps(statement)
    ]
    assert open_doors == [("door-s3", [f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/*"])]


def test_policies_fit_what_iam_takes(full_ground: World) -> None:
    def letters(made: Made) -> int:
        return max(len(json.dumps(document, separators=(",", ":"))) for document in made.documents())

    assert max(letters(made) for made in full_ground.of("iam/rolePolicy:RolePolicy").values()) < 10240
    assert max(letters(made) for made in full_ground.of("iam/policy:Policy").values()) < 6144


def test_the_longest_name_still_fits() -> None:
    owner = Owner("b" * 39, "prod", REGION)
    world = full(owner=owner, storage=replace(FULL["storage"], bucket="a" * 48))
    assert max(len(made.inputs["name"]) for made in world.of("iam/role:Role").values()) <= 64
    assert max(len(made.inputs["bucket"]) for made in world.of("s3/bucket:Bucket").values()) <= 63
    assert (
        max(
            len(json.dumps(found, separators=(",", ":")))
            for each in world.of("iam/policy:Policy").values()
            for found in each.documents()
        )
        < 6144
    )


def test_no_secret_is_asked_for_and_none_is_written(full_ground: World) -> None:
    words = re.compile(r"(secret|password|token|private)_?(key|value|string)?$", re.I)
    harmless = {"generateSecret", "enableTokenRevocation", "passwordPolicy", "softwareTokenMfaConfiguration"}
    named = [
        (made.name, name)
        for made in full_ground.made
        for name in made.inputs
        if words.search(name) and name not in harmless | made.secrets
    ]
    assert named == []
    assert full_ground.one("cognito/userPoolClient:UserPoolClient").inputs["generateSecret"] is False
    variables = [
        each["value"]
        for made in full_ground.of("codebuild/project:Project").values()
        for each in made.inputs["environment"]["environmentVariables"]
    ]
    assert sorted(variables) == [
        *sorted(f"123456789012.dkr.ecr.{REGION}.amazonaws.com/bot-prod-{image}" for image in ("serving", "training")),
        "s3://acme-llm/models/bot/code",
    ]


def test_every_child_has_its_component_and_every_component_its_parent(full_ground: World) -> None:
    assert [made.name for made in full_ground.made if "llmspec:aws:" not in made.parent] == []
    assert {
        "Keys",
        "Storage",
        "Logs",
        "Network",
        "Identity",
        "Registry",
        "Data",
        "Events",
        "Access",
        "Audit",
        "Backup",
        "Cost",
    } <= {kind.split(":")[-1] for kind, _ in full_ground.components}


def test_what_is_not_wanted_is_not_made() -> None:
    kinds = {made.kind.split(":")[1].split("/")[0] for made in small(registry=None).made}
    assert kinds == {"kms", "s3", "cloudwatch", "iam"}


def test_exports_are_what_the_service_stack_asks_for(full_ground: World) -> None:
    found = full_ground.exports
    assert found["bucket"] == "acme-llm"
    assert found["product"] == "models/bot/"
    assert set(found["roles"]) == {"data", "training", "evaluation", "endpoint", "monitors", "build"}
    assert set(found["repositories"]) == set(found["build_projects"]) == {"serving", "training"}
    assert len(found["private_subnets"]) == len(found["public_subnets"]) == 2
    assert found["log_groups"]["endpoint"] == "/llmspec/bot-prod/endpoint"
    assert {name: arn.rpartition(":")[2] for name, arn in found["streams"].items()} == {
        "journal": "bot-prod-journal",
        "engagement": "bot-prod-engagement",
    }
    assert {
        "data_key",
        "logs_key",
        "boundary",
        "deploy_role",
        "plan_role",
        "vpc",
        "work_security_group",
        "doors_security_group",
        "cidr",
        "repository_arns",
        "carrier_role",
        "spark_application",
        "database",
        "user_pool",
    } <= set(found)


def test_what_was_not_made_is_not_exported() -> None:
    found = small(registry=None).exports
    assert set(found) == {"bucket", "product", "data_key", "logs_key", "roles", "boundary", "log_groups"}


def test_everything_is_made_in_the_owners_region_and_copies_in_theirs(full_ground: World) -> None:
    assert {made.provider for made in full_ground.made} == {"aws", "aws-eu-west-1"}
    elsewhere = {(made.kind.split(":")[-1], made.name) for made in full_ground.made if made.provider == "aws-eu-west-1"}
    assert {("Key", "key-copy-eu-west-1"), ("Bucket", "replica"), ("BucketPolicy", "replica"), ("Vault", "copy")} <= elsewhere
    assert {name for _, name in elsewhere} == {"key-copy-eu-west-1", "replica", "copy"}


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda: FoundationArgs(Owner("b" * 60, "prod", REGION), STORE), "44 letters"),
        (lambda: FoundationArgs(OWNER, STORE, backup=BackupArgs(copy_to=REGION)), "lost with it"),
        (lambda: StorageArgs("Acme_LLM"), "small letters"),
        (lambda: StorageArgs("acme", retention_days={"models": 3}), "no rule named models"),
        (lambda: IdentityArgs(("acme/tickets",)), "s3://"),
        (lambda: NetworkArgs(zones=1), "falls with its zone"),
        (lambda: NetworkArgs(nat_gateways=3), "one a zone"),
        (lambda: NetworkArgs("10.0.0.0/24"), "no room"),
        (lambda: BackupArgs(every_hours=5), "meets no clock"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(wrong: object, fault: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=fault):
        wrong()


def test_the_program_is_the_same_twice() -> None:
    assert full().names() == full().names()


def test_the_conform_program_has_every_part_on(full_ground: World) -> None:
    assert [name for name in FULL if getattr(CONFORM, name) is None] == []
    kinds = {made.kind for made in made_by(lambda: foundation(CONFORM)).made}
    # A vault's lock cannot be taken back, and would outlive the check.
    assert kinds == {made.kind for made in full_ground.made} - {"aws:backup/vaultLockConfiguration:VaultLockConfiguration"}
