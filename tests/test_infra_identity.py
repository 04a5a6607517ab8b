"""Who may do what: each job its own folders, and GitHub what a deployment needs."""

import json
from dataclasses import replace
from typing import Any

import pytest
from foundation_parts import GITHUB, allowed, reach, small, trusted
from pulumi_parts import World

from infra_pulumi.components.deploy import DeployArgs
from infra_pulumi.components.identity import IdentityArgs

TRAINED = ("features", "model", "onnx")


def test_each_job_writes_its_own_folders_and_nobody_elses(bare_ground: World) -> None:
    written = {
        role: reach(allowed(bare_ground, role), "s3:PutObject")
        for role in ("data", "training", "evaluation", "endpoint", "monitors")
    }
    product = "arn:aws:s3:::acme-llm/models/bot"
    assert written == {
        "data": {f"{product}/data/*", f"{product}/jobs/data/*"},
        "training": {f"{product}/{folder}/*" for folder in (*TRAINED, "checkpoints", *(f"jobs/{stage}" for stage in TRAINED))},
        "evaluation": {f"{product}/evaluation/*", f"{product}/jobs/evaluation/*"},
        "endpoint": {f"{product}/capture/*"},
        "monitors": {f"{product}/monitors/*"},
    }
    assert reach(allowed(bare_ground, "build"), "s3:PutObject") == {"arn:aws:s3:::acme-llm/models/bot/code/*"}


def test_the_endpoint_reads_what_it_serves_and_no_rows(bare_ground: World) -> None:
    read = reach(allowed(bare_ground, "endpoint"), "s3:GetObject")
    assert read == {f"arn:aws:s3:::acme-llm/models/bot/{folder}/*" for folder in ("onnx", "capture")}


def test_only_the_data_job_reads_sources_outside_the_store(full_ground: World) -> None:
    rows = "arn:aws:s3:::acme-support/tickets/*"
    assert {role for role in full_ground.exports["roles"] if rows in reach(allowed(full_ground, role), "s3:GetObject")} == {"data"}
    assert "arn:aws:kms:eu-central-1:1:key/support" in reach(allowed(full_ground, "data"), "kms:Decrypt")


def test_a_source_that_is_a_whole_bucket_says_so() -> None:
    world = small(identity=IdentityArgs(("s3://acme-support",)))
    (whole,) = [each for each in allowed(world, "data") if "arn:aws:s3:::acme-support/*" in each["Resource"]]
    assert whole["Sid"] == "ASourceThatNamesNoFolderIsTheWholeBucket"


def test_services_take_roles_on_for_this_account_only(bare_ground: World) -> None:
    services = {
        role: {each["Principal"]["Service"] for each in trusted(bare_ground, role)} for role in ("data", "endpoint", "build")
    }
    assert services == {
        "data": {"emr-serverless.amazonaws.com", "sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com"},
        "endpoint": {"sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com"},
        "build": {"codebuild.amazonaws.com"},
    }
    assert all("aws:SourceAccount" in json.dumps(each["Condition"]) for role in services for each in trusted(bare_ground, role))


def test_no_job_crosses_the_boundary(bare_ground: World) -> None:
    roles = [bare_ground.one("iam/role:Role", role) for role in bare_ground.exports["roles"]]
    assert all(role.inputs["permissionsBoundary"].endswith("bot-prod-boundary") for role in roles)
    (ceiling,) = bare_ground.one("iam/policy:Policy", "boundary").documents()
    services = {action.split(":")[0] for each in ceiling["Statement"] for action in each["Action"]}
    assert not services & {"iam", "sts", "cloudtrail", "organizations", "backup", "budgets"}


def test_the_boundary_holds_all_that_any_job_is_given(full_ground: World) -> None:
    (ceiling,) = full_ground.one("iam/policy:Policy", "boundary").documents()
    below = {action for each in ceiling["Statement"] for action in each["Action"]}
    given = {action for role in full_ground.exports["roles"] for each in allowed(full_ground, role) for action in each["Action"]}
    assert given - below == set()
    assert "arn:aws:kms:eu-central-1:1:key/support" in reach(ceiling["Statement"], "kms:Decrypt")


def test_jobs_are_given_network_cards_only_where_there_is_a_network(bare_ground: World, full_ground: World) -> None:
    card = "ec2:CreateNetworkInterface"
    assert not [role for role in bare_ground.exports["roles"] if reach(allowed(bare_ground, role), card)]
    assert {role for role in full_ground.exports["roles"] if reach(allowed(full_ground, role), card)} == set(
        full_ground.exports["roles"]
    ) - {"build"}


def test_github_is_let_in_by_both_forms_of_its_subject(full_ground: World) -> None:
    (door,) = trusted(full_ground, "deploy")
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


def test_githubs_provider_is_made_unless_the_account_has_it(bare_ground: World, full_ground: World) -> None:
    assert full_ground.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    assert not bare_ground.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    known = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    world = small(identity=IdentityArgs(deploy=replace(GITHUB, provider_arn=known)))
    assert not world.of("iam/openIdConnectProvider:OpenIdConnectProvider")
    assert trusted(world, "deploy")[0]["Principal"] == {"Federated": known}


def test_github_hands_on_named_roles_to_named_services(full_ground: World) -> None:
    (passing,) = [each for each in allowed(full_ground, "deploy") if each["Action"] == ["iam:PassRole"]]
    assert set(full_ground.exports["roles"].values()) <= set(passing["Resource"])
    assert "sagemaker.amazonaws.com" in passing["Condition"]["StringEquals"]["iam:PassedToService"]


def test_github_makes_roles_below_the_boundary_only_and_cannot_lift_it(full_ground: World) -> None:
    statements = allowed(full_ground, "deploy")
    (making,) = [each for each in statements if "iam:CreateRole" in each["Action"]]
    assert making["Condition"]["StringEquals"]["iam:PermissionsBoundary"].endswith("bot-prod-boundary")
    own = {f"arn:aws:iam::123456789012:role/{role.inputs['name']}" for role in full_ground.of("iam/role:Role").values()}
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
    assert set(world.of("iam/policy:Policy")) == {"boundary", "deploy-monitoring", "deploy-lambda"}
    (document,) = world.one("iam/policy:Policy", "deploy-lambda").documents()
    assert {action.split(":")[0] for each in document["Statement"] for action in each["Action"]} == {
        "lambda",
        "apigateway",
        "codedeploy",
    }


def test_github_may_ask_the_endpoint_itself_by_its_own_name() -> None:
    """It is `bot-prod` from release to release, which `bot-prod-*` is not."""
    world = small(identity=IdentityArgs(deploy=DeployArgs("acme/bot", "prod", places=("sagemaker",))))
    (document,) = world.one("iam/policy:Policy", "deploy-sagemaker").documents()
    assert any(each.endswith(":endpoint/bot-prod") for each in reach(document["Statement"], "sagemaker:InvokeEndpoint"))


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


def test_a_copy_of_the_endpoint_makes_no_log_group_and_a_job_may(full_ground: World) -> None:
    may = {role: {action for each in allowed(full_ground, role) for action in each["Action"]} for role in ("endpoint", "training")}
    assert "logs:CreateLogStream" in may["endpoint"]
    assert "logs:CreateLogGroup" not in may["endpoint"]
    assert "logs:CreateLogGroup" in may["training"]
