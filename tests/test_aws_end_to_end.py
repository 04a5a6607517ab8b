"""One llm.yaml in AWS, from nothing to an answer and back to nothing, whatever fails or is killed on the way.

The command line runs as processes, Pulumi's part is an engine of ours, SageMaker's jobs and endpoints are the real doors.
"""

import os
import re
from collections.abc import Iterator
from itertools import count

import pytest
from conftest import Project
from product_in_aws_parts import BUCKET, CLIP, PROD, Cloud, in_aws

from llmspec.infra.images import tag

pytestmark = [pytest.mark.aws, pytest.mark.slow, pytest.mark.timeout(900)]  # two minutes for all on two quiet cores
NUMBERS = count(1)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A product that was brought up once, its foundation killed on the way; the image is put where CodeBuild would put it."""
    folder = tmp_path_factory.mktemp("aws")
    made = Project(folder / "shop")
    made.folder.mkdir()
    with in_aws(folder, made) as cloud:
        cloud.killed_at("after:image-training", "--select", "data")
        cloud.said.append(cloud.apply("--select", "data").stdout)
        cloud.put_images()
        cloud.said.append(cloud.apply().stdout)
        yield cloud


@pytest.fixture
def cloud(first: Cloud) -> Cloud:
    """It is up, whatever an earlier test left: as it was first, or as it was applied last."""
    first.project.write(first.made)
    if not first.stands():
        first.apply()
    return first


def other_limits(cloud: Cloud) -> None:
    """Another release of the same artifact. No test asks for what another test asked for."""
    text = cloud.project.spec.read_text(encoding="utf-8")
    other = re.sub(r"concurrency: 4(, queue: \d+)?}", f"concurrency: 4, queue: {100 + next(NUMBERS)}}}", text)
    assert other != text
    cloud.project.write(other)


def computed() -> float:
    """Seconds of a processor that processes which have ended took: others on this machine do not count."""
    return sum(os.times()[2:4])


def test_the_product_is_made_in_order_and_the_pointer_moves_last(cloud: Cloud) -> None:
    foundation, rest = cloud.said
    assert "an apply was killed here; asking AWS what it had made" in foundation
    assert foundation.index("✓ foundation") < foundation.index("✓ data")
    order = ["✓ features", "is asked for", "✓ model", "✓ onnx", "✓ evaluation", "+ sagemaker Endpoint endpoint", "✓ endpoint"]
    assert [rest.index(each) for each in order] == sorted(rest.index(each) for each in order)
    release, configuration = cloud.live()
    assert configuration.startswith(f"tiny-prod-r{release}-")
    assert [asked["verb"] for asked in cloud.hosting.asked][:2] == ["invocations", "invocations-response-stream"]
    asked = cloud.aws.gate.asked
    assert asked.index("POST /endpoints/tiny-prod/invocations") < asked.index(f"PUT /{BUCKET}/llm/tiny/endpoint/prod/live.json")
    assert cloud.orphans() == set()


def test_the_job_was_asked_for_as_the_spec_and_the_foundation_say(cloud: Cloud) -> None:
    ground = cloud.paper("foundation")
    box = next(iter(cloud.jobs.boxes.values()))
    asked, key = box.asked, box.asked["Tags"][-1]["Value"]
    assert box.name.startswith(f"tiny-prod-model-{key[:10]}")
    assert box.name.endswith("-1")
    assert asked["RoleArn"] == ground["roles"]["training"]
    assert asked["AlgorithmSpecification"]["TrainingImage"] == f"{ground['repositories']['training']}:{tag('training', 'cpu')}"
    assert asked["OutputDataConfig"]["KmsKeyId"] == asked["ResourceConfig"]["VolumeKmsKeyId"] == ground["data_key"]
    assert asked["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert asked["VpcConfig"]["Subnets"] == ground["private_subnets"]
    assert asked["EnableNetworkIsolation"]
    assert {each["Key"]: each["Value"] for each in asked["Tags"]} == {
        "llmspec:name": "tiny",
        "llmspec:target": "prod",
        "llmspec:stage": "model",
        "llmspec:key": key,
    }


def test_whatever_lies_in_the_store_is_encrypted_with_the_foundations_key(cloud: Cloud) -> None:
    key = cloud.paper("foundation")["data_key"]
    rule = cloud.aws.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["BucketKeyEnabled"]
    names = cloud.aws.keys(BUCKET, "llm/tiny/")
    assert {name.split("/")[2] for name in names} >= {"data", "features", "model", "onnx", "evaluation", "endpoint"}
    assert not [name for name in names if "/jobs/" in name or "/checkpoints/" in name], "what was for a job only is gone"
    for name in names:
        said = cloud.aws.s3.head_object(Bucket=BUCKET, Key=name)
        assert (said["ServerSideEncryption"], said["SSEKMSKeyId"]) == ("aws:kms", key), name


def test_it_answers_and_says_how_it_does_and_again_there_is_nothing_to_change(cloud: Cloud) -> None:
    before = cloud.serving()
    assert cloud.project.run("ask", *PROD, "Where do I find lamp number 1?").stdout.strip()
    status = cloud.project.run("status", *PROD).stdout
    assert "● live" in status
    assert "not looked at: add --drift" in status
    begun = computed()
    assert "Nothing to change. Release" in cloud.apply().stdout
    assert computed() - begun < 20, "on a quiet machine it is a few seconds, most of them Pulumi's comparison"
    assert cloud.serving() == before


def test_at_a_gate_that_fails_nothing_in_aws_changes(cloud: Cloud) -> None:
    before, pointer = cloud.serving(), cloud.pointer()
    other_limits(cloud)
    cloud.project.edit("perplexity <= 100000", "perplexity <= 1")
    done = cloud.apply(check=False)
    assert done.returncode == 1
    assert "perplexity" in done.stderr
    assert cloud.serving() == before
    assert cloud.pointer() == pointer


def test_killed_between_any_two_steps_it_ends_as_if_it_never_was(cloud: Cloud) -> None:
    jobs, (release, _) = set(cloud.jobs.boxes), cloud.live()
    other_limits(cloud)
    cloud.project.edit(CLIP, f"{CLIP}{next(NUMBERS)}")
    cloud.jobs.room.clear()
    cloud.killed_while(lambda: set(cloud.jobs.boxes) - jobs, "--select", "+model")
    (name,) = set(cloud.jobs.boxes) - jobs
    cloud.jobs.room.set()
    cloud.killed_before(f"PUT /{BUCKET}/llm/tiny/model/{cloud.jobs.boxes[name].asked['Tags'][-1]['Value']}/", "--select", "+model")
    assert cloud.jobs.boxes[name].status == "Completed"
    cloud.killed_at("after:endpoint")
    assert cloud.pointer()["release"] == release
    cloud.killed_before(f"PUT /{BUCKET}/llm/tiny/endpoint/prod/live.json")
    assert cloud.pointer()["release"] == release
    done = cloud.apply()
    assert set(cloud.jobs.boxes) - jobs == {name}, "it was asked for once"
    number, configuration = cloud.live()
    assert number > release
    assert configuration.startswith(f"tiny-prod-r{number}-")
    assert f"Release {number} is live" in done.stdout
    serving = cloud.serving()
    assert (len(serving["models"]), serving["configurations"]) == (1, [configuration])
    assert cloud.orphans() == set()
    assert "drift        none" in cloud.project.run("status", *PROD, "--drift").stdout


def test_a_silent_rollback_is_a_failure_and_once_its_cause_is_gone_the_release_comes_up(cloud: Cloud) -> None:
    before = cloud.live()
    other_limits(cloud)
    cloud.hosting.rolls_back = True
    try:
        done = cloud.apply(check=False)
    finally:
        cloud.hosting.rolls_back = False
    assert done.returncode == 1
    assert "SageMaker rolled it back" in done.stdout + done.stderr
    assert cloud.live() == before
    cloud.apply()
    number, configuration = cloud.live()
    assert number > before[0]
    assert configuration.startswith(f"tiny-prod-r{number}-")


def test_two_releases_share_the_traffic_as_the_spec_says_and_a_rollback_ends_that(cloud: Cloud) -> None:
    other_limits(cloud)
    cloud.apply()
    alone, pointer = cloud.made, cloud.pointer()
    older, newer = pointer["before"], pointer["release"]

    def share(first: int, weight: int, second: int) -> None:
        variants = f"[{{release: {first}, weight: {weight}}}, {{release: {second}, weight: {100 - weight}}}]"
        cloud.project.write(alone.replace("    governance:", f"    endpoint: {{variants: {variants}}}\n    governance:"))

    def shares() -> list[tuple[str, int]]:
        found = cloud.hosting.backend.endpoints["tiny-prod"].production_variants
        return [(each["VariantName"], int(each["CurrentWeight"])) for each in found]

    share(newer + 1, 90, newer + 2)
    planned = cloud.project.run("plan", *PROD).stdout
    assert f"there is no release {newer + 1}" in planned
    assert f"release {newer} is what the spec asks for, and is none of them" in planned
    for weight in (90, 50):
        share(older, weight, newer)
        cloud.hosting.asked.clear()
        assert f"release {newer} stays, and the traffic is shared anew" in cloud.apply().stdout
        assert shares() == [("primary", weight), ("variant-2", 100 - weight)]
        assert {asked["side"] for asked in cloud.hosting.asked} == {"primary", "variant-2"}
        assert (cloud.live()[0], cloud.pointer()["before"]) == (newer, older)
    assert "50 % of the traffic" in cloud.project.run("history", *PROD).stdout
    assert "Nothing to change" in cloud.apply().stdout
    cloud.project.run("rollback", *PROD)
    assert (cloud.live()[0], shares()) == (older, [("primary", 100)])


def test_destroy_keeps_the_store_tells_of_what_is_in_no_stack_and_an_apply_goes_on_with_what_was_kept(cloud: Cloud) -> None:
    key = cloud.paper("foundation")["data_key"]
    topic = cloud.client("sns").create_topic(
        Name="by-hand", Tags=[{"Key": "llmspec:name", "Value": "tiny"}, {"Key": "llmspec:target", "Value": "prod"}]
    )["TopicArn"]
    kept = cloud.aws.keys(BUCKET, "llm/tiny/model/")
    said = cloud.project.run("destroy", *PROD, "--yes").stdout
    assert "- service      sagemaker Endpoint endpoint" in said
    assert "= foundation   s3 Bucket store  stays in AWS" in said
    assert "- ec2 Vpc network" in said
    assert [line for line in said.splitlines() if line.startswith("  ? ")] == [
        f"  ? {topic}  is in no stack; remove it: aws sns delete-topic --topic-arn {topic}"
    ]
    serving = cloud.serving()
    assert not serving["models"]
    assert not serving["configurations"]
    assert not serving["endpoints"]
    assert cloud.aws.keys(BUCKET, "llm/tiny/model/") == kept
    assert {arn.split(":")[2] for arn in cloud.tagged()} == {"s3", "kms", "sagemaker", "sns"}, "store, keys, the records of jobs"
    cloud.client("sns").delete_topic(TopicArn=topic)
    jobs = set(cloud.jobs.boxes)
    said = cloud.apply("--select", "+model").stdout
    assert "kept when it was destroyed, and taken in again" in said
    assert re.search(r"= model +reuse", said)
    assert set(cloud.jobs.boxes) == jobs
    cloud.put_images()
    assert cloud.paper("foundation")["data_key"] == key, "another key would open nothing of the store"
    assert cloud.orphans() == set()
