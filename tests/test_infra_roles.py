"""Roles: what they are given, and what the boundary leaves of it."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from asked_parts import SECRET, asked, at, spec
from foundation_parts import small
from pulumi_parts import made_by
from pulumi_service_parts import Made, run

from infra_pulumi.foundation import foundation
from llmspec.infra.asked import foundation_args


def within(action: str, resource: str, ceiling: list[dict[str, Any]]) -> bool:
    """Whether a statement of the ceiling covers it. A star of the role's own has to lie below one of the ceiling's."""
    return any(
        fnmatchcase(action, allowed) and fnmatchcase(resource, reach)
        for each in ceiling
        for allowed in each["Action"]
        for reach in each["Resource"]
    )


def called(place: str, *changes: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Made]:
    """The boundary of a foundation, and the service stack that stands on it; both as account 123456789012 has them."""
    made = spec(place, {"name": "bot", "monitors": {"notify": {"webhook": SECRET}}}, *changes)
    args = foundation_args(made, "prod")
    ceiling = small(owner=args.owner, storage=args.storage, identity=args.identity).one("iam/policy:Policy", "boundary")
    (document,) = ceiling.documents()
    return document["Statement"], run(asked(made)[1])


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("sagemaker", {}),
        ("ecs", {"endpoint": {"rollout": {"strategy": "canary"}}}),
        ("ecs", at("places.endpoint.ecs.instance", "g5.xlarge")),
        ("lambda", {"endpoint": {"rollout": {"strategy": "canary"}}}),
        ("eks", {}),
    ],
    ids=["sagemaker", "ecs in steps", "ecs on machines", "lambda", "eks"],
)
def test_the_boundary_leaves_every_role_of_the_service_all_that_it_is_given(place: str, change: dict[str, Any]) -> None:
    ceiling, made = called(place, change)
    lacking = [
        f"{role}: {action} on {resource}"
        for role, statement in given(made)
        for action in statement["Action"]
        for resource in statement["Resource"]
        if not within(action, resource, ceiling)
    ]
    assert lacking == []
    assert len(list(given(made))) > 2


def given(made: Made) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each role below the boundary is allowed, with ARNs as AWS would make them."""
    below = {name for name, role in made.all("iam/role:Role").items() if role.get("permissionsBoundary")}
    for name, policy in made.all("iam/rolePolicy:RolePolicy").items():
        if name in below:
            for statement in json.loads(policy["policy"])["Statement"]:
                named = statement["Resource"]
                resources = [named] if isinstance(named, str) else named
                yield name, {**statement, "Resource": [as_aws_names(resource, made) for resource in resources]}


def as_aws_names(resource: str, made: Made) -> str:
    """Mocks make ARNs of Pulumi's names: what AWS would call it, so that the boundary's patterns can be held against it."""
    text = resource.replace("111122223333", "123456789012")
    parts = text.split(":")
    if text == "*":
        return text
    if parts[2] == "secretsmanager":
        (secret,) = made.all("secretsmanager/secret:Secret").values()
        return ":".join([*parts[:5], "secret", f"{secret['namePrefix']}abc"])
    if parts[2] == "lb":
        kind = {"balancer-rule": "listener-rule/app", "balancer-listener": "listener/app"}.get(parts[-1], "targetgroup")
        return ":".join([*parts[:2], "elasticloadbalancing", *parts[3:5], f"{kind}/bot-prod-x/1"])
    if parts[2] == "ecs" and parts[-1] == "cluster":
        return ":".join([*parts[:5], "cluster/bot-prod"])
    return text


def test_a_job_may_do_in_its_folders_what_the_store_does_and_nothing_elsewhere() -> None:
    """The calls of llmspec/s3.py, s3_files.py and shelf_s3.py, by the permission that each needs."""
    world = made_by(lambda: foundation(foundation_args(spec("sagemaker", {"places": {"model": "sagemaker"}}), "prod")))
    (document,) = world.one("iam/rolePolicy:RolePolicy", "training").documents()
    needed = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
    (writes,) = [each for each in document["Statement"] if needed & set(each["Action"])]
    assert needed <= set(writes["Action"])
    kept = {"features/*", "model/*", "onnx/*", "checkpoints/*"}
    handed = {"jobs/features/*", "jobs/model/*", "jobs/onnx/*"}
    assert {arn.rpartition("/bot/")[2] for arn in writes["Resource"]} == kept | handed
    actions = {action for each in document["Statement"] for action in each["Action"]}
    assert {"s3:ListBucket", "s3:GetObject", "s3:ListBucketMultipartUploads", "kms:Decrypt", "kms:GenerateDataKey"} <= actions
    assert set(world.exports["roles"]) == {"training", "endpoint", "build"}
