"""A policy reaches no further than it says why."""

import json
from typing import Any

import pytest
from pulumi_parts import made_by

from infra_pulumi.policies import Statement, WildcardError, document, wildcards


def written(*statements: Statement) -> list[dict[str, Any]]:
    """The document's statements, as IAM is given them."""
    found: list[str] = []
    made_by(lambda: (document(*statements).apply(found.append), None)[1])
    loaded = json.loads(found[0])
    assert isinstance(loaded["Statement"], list)
    return list(loaded["Statement"])


@pytest.mark.parametrize(
    "reach",
    [
        {"Action": ["s3:*"], "Resource": ["arn:aws:s3:::shop/data/*"]},
        {"Action": ["logs:Create*"], "Resource": ["arn:aws:logs:eu-central-1:1:log-group:/llmspec/shop/data"]},
        {"Action": ["s3:GetObject"], "Resource": ["*"]},
        {"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::shop/*"]},
        {"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::*"]},
        {"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::shop/*/rows.jsonl"]},
        {"Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::1:role/*"]},
        {"Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::*:role/shop-data"]},
        {"Action": ["logs:PutLogEvents"], "Resource": ["arn:aws:logs:eu-central-1:1:log-group:*"]},
        {"Action": ["logs:PutLogEvents"], "Resource": ["arn:aws:logs:*:1:log-group:/llmspec/shop"]},
        {"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::shop/data/*"], "Principal": "*"},
        {"Action": ["sts:AssumeRole"], "Principal": {"AWS": "*"}},
    ],
)
def test_what_reaches_further_than_one_named_thing_is_a_wildcard(reach: dict[str, Any]) -> None:
    assert wildcards(reach)


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:s3:::shop",
        "arn:aws:s3:::shop/models/bot/data/*",
        "arn:aws:iam::1:role/bot-prod-service-*",
        "arn:aws:logs:eu-central-1:1:log-group:/llmspec/bot-prod/data*",
        "arn:aws:sagemaker:eu-central-1:1:endpoint/bot-prod-*",
    ],
)
def test_what_lies_below_one_named_thing_is_none(resource: str) -> None:
    assert wildcards({"Action": ["s3:GetObject"], "Resource": [resource], "Principal": {"Service": "s3.amazonaws.com"}}) == []


def test_a_wildcard_without_a_reason_stops_the_program_and_all_of_them_are_named() -> None:
    with pytest.raises(WildcardError, match=r"(?s)reason.*s3:.*kms:"):
        written(Statement(("s3:*",), ("arn:aws:s3:::shop",)), Statement(("kms:*",), ("arn:aws:kms:eu-central-1:1:key/1",)))


def test_a_reason_is_read_at_the_console_and_twice_the_same_is_numbered() -> None:
    reason = "A registry's login names no repository"
    made = written(*[Statement(("ecr:GetAuthorizationToken",), ("*",), reason=reason)] * 2)
    assert [each["Sid"] for each in made] == ["ARegistrysLoginNamesNoRepository", "ARegistrysLoginNamesNoRepository2"]


def test_an_empty_part_is_left_out_since_iam_refuses_it() -> None:
    assert written(Statement(("sts:AssumeRole",), principals={"Service": "s3.amazonaws.com"})) == [
        {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Principal": {"Service": "s3.amazonaws.com"}}
    ]
