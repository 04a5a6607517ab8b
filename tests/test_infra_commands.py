"""plan, apply, status and destroy of a product with a foundation in AWS: moto's API, and an engine of ours for `pulumi`."""

import json
import time
import uuid
from pathlib import Path

import pytest
from conftest import TINY, Project
from fake_codebuild import client
from moto_parts import Moto, aws
from pulumi_engine_parts import Engine, engine_in

__all__ = ["aws"]
pytestmark = pytest.mark.aws
CLOUD = """\
tags: {{cost-center: {tag}}}
targets:
  prod:
    region: eu-central-1
    store: s3://{bucket}/models
    places: {{evaluation: sagemaker}}
    governance: {{waive: [{waived}], retention: {{data: 30d}}}}
"""
CHECKS = ("alarms", "audit", "backup", "budget", "guards", "notify", "rate-limit", "retention", "gates", "copies", "journal")


def spec(bucket: str, tag: str = "cx-1") -> str:
    waived = ", ".join(f"{{check: {check}, reason: A product of a test.}}" for check in CHECKS)
    return TINY + CLOUD.format(bucket=bucket, tag=tag, waived=waived)


@pytest.fixture
def shop(aws: Moto, tmp_path: Path) -> Project:
    """A product whose store is made by its foundation. What an earlier test left at moto under its name is no part of it."""
    logs = client(aws, "logs")
    for group in logs.describe_log_groups(logGroupNamePrefix="/llmspec/tiny-prod")["logGroups"]:
        logs.delete_log_group(logGroupName=group["logGroupName"])
    made = Project(tmp_path / "shop")
    made.folder.mkdir()
    made.env |= aws.env
    made.write(spec(f"acme-{uuid.uuid4().hex[:10]}"))
    return made


def with_cli(shop: Project, tmp_path: Path) -> Engine:
    made = engine_in(tmp_path / "engine")
    shop.env |= made.env
    return made


def buckets(aws: Moto) -> set[str]:
    return {bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]}


def test_without_the_cli_a_plan_lists_and_says_so_quickly_and_apply_touches_nothing(shop: Project, aws: Moto) -> None:
    before, begun = buckets(aws), time.monotonic()
    said = shop.run("plan", "tiny.yaml", "--target", "prod").stdout
    took = time.monotonic() - begun
    assert "a list from the program, not a comparison with what is there" in said
    assert "get it: curl -fsSL https://get.pulumi.com" in said
    (foundation, *_) = json.loads(shop.run("plan", "tiny.yaml", "--target", "prod", "-o", "json").stdout)["cloud"]
    assert (foundation["part"], foundation["compared"]) == ("foundation", False)
    assert {"aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:iam/role:Role"} <= {each["type"] for each in foundation["changes"]}
    refused = shop.run("apply", "tiny.yaml", "--target", "prod", "--select", "data", "--yes", check=False)
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (1, "the Pulumi CLI is not installed here")
    assert buckets(aws) == before
    assert took < 30, "on a quiet machine it is under five seconds"


@pytest.mark.slow
def test_a_foundation_comes_up_before_the_stages_is_compared_and_goes(shop: Project, aws: Moto, tmp_path: Path) -> None:
    engine = with_cli(shop, tmp_path)
    prod = ("tiny.yaml", "--target", "prod")
    before = buckets(aws)
    said = shop.run("plan", *prod, "--exit-code", check=False)
    assert said.returncode == 3
    assert "foundation  tiny-prod-foundation: " in said.stdout
    assert "images: 1 build at CodeBuild, before the first stage\n  + build    training " in said.stdout
    assert buckets(aws) == before, "a plan makes neither store nor state"

    said = shop.run("apply", *prod, "--select", "data", "--yes")
    assert "+ s3 Bucket store" in said.stdout
    assert said.stdout.index("✓ foundation") < said.stdout.index("✓ data")
    (state,) = [name for name in buckets(aws) - before if name.endswith("-state")]
    store = state.removesuffix("-state")
    assert store in buckets(aws)
    assert "tiny/foundation/prod.json" in "".join(aws.keys(store))
    assert any(name.endswith("tiny-prod-foundation.json") for name in aws.keys(state))
    assert aws.s3.get_bucket_versioning(Bucket=state)["Status"] == "Enabled"

    key = aws.body(store, "models/tiny/data/prod.head").decode().strip()
    made = json.loads(aws.body(store, f"models/tiny/data/{key}/manifest.json")) | {"finished": "2020-01-01T00:00:00+00:00"}
    for name, digest in ((key, made["digest"]), ("superseded", "another")):
        body = json.dumps(made | {"key": name, "digest": digest}).encode()
        aws.s3.put_object(Bucket=store, Key=f"models/tiny/data/{name}/manifest.json", Body=body)
    again = shop.run("apply", *prod, "--select", "data", "--yes")
    assert "✓ retention    1 old artifact of data removed, which nothing current was made from" in again.stdout
    assert "Nothing to change." in again.stdout
    assert [name for name in aws.keys(store) if "/data/superseded/" in name] == []
    whole = json.loads(shop.run("plan", *prod, "-o", "json").stdout)
    stored = [line["what"] for line in whole["costs"]["lines"] if line["stage"] == "storage"]
    assert stored == ["s3 gb"], "that there is something to be paid for is known by now"
    assert [image["what"] for image in whole["images"]] == ["training"]

    shop.write(spec(store, tag="cx-2"))
    shop.run("plan", *prod, "--select", "data", "--out", "saved.json")
    (foundation,) = [each for each in json.loads((shop.folder / "saved.json").read_text())["cloud"] if each["part"] == "foundation"]
    tagged = {each["name"]: each for each in foundation["changes"]}
    assert (tagged["store"]["op"], tagged["store"]["keys"]) == ("update", ['tags["cost-center"]'])
    lock = ".pulumi/locks/organization/llmspec/tiny-prod-foundation/one.json"
    whose = {"pid": 41, "username": "ana", "hostname": "laptop", "timestamp": "2026-01-02T03:04:05Z"}
    aws.s3.put_object(Bucket=state, Key=lock, Body=json.dumps(whose).encode())
    refused = shop.run("apply", *prod, "--select", "data", "--yes", check=False)
    assert refused.returncode == 1
    assert "is being changed by ana@laptop, process 41" in refused.stderr
    assert "add --unlock" in refused.stderr
    shop.run("apply", *prod, "--select", "data", "--yes", "--unlock")
    assert lock not in aws.keys(state)
    stale = shop.run("apply", *prod, "--plan", "saved.json", check=False)
    assert stale.returncode != 0
    assert "the saved plan is stale: in the cloud something else would change by now" in stale.stderr

    assert json.loads(shop.run("status", *prod, "--drift", "-o", "json").stdout)["drift"] == []
    logging = engine.file(f"s3.bucketLogging.BucketLogging/{store}")
    logging.unlink()
    said = shop.run("status", *prod, "--drift", check=False)
    assert (said.returncode, "drift        foundation: delete aws:s3/bucketLogging:BucketLogging store\n" in said.stdout) == (
        3,
        True,
    )
    assert "put it back: llmspec apply tiny.yaml --target prod --drift" in said.stdout
    assert "Nothing to change." in shop.run("apply", *prod, "--select", "data", "--yes").stdout
    assert "+ create   s3 BucketLogging store" in shop.run("apply", *prod, "--select", "data", "--yes", "--drift").stdout
    assert logging.exists()
    assert json.loads(shop.run("status", *prod, "--drift", "-o", "json").stdout)["drift"] == []

    said = shop.run("destroy", *prod, "--yes")
    assert "= foundation   s3 Bucket store  stays in AWS" in said.stdout
    assert f"arn:aws:s3:::{store}  stays: it holds what cannot be made again" in said.stdout
    assert "    = s3 Bucket store  stays in AWS\n" in said.stdout
    assert "- s3 Bucket store" not in said.stdout
    assert "    - iam Role build\n" in said.stdout
    assert "Destroyed." in said.stdout
    assert {store, state} <= buckets(aws)
    assert not any(name.endswith("tiny-prod-foundation.json") and "/stacks/" in name for name in aws.keys(state))
