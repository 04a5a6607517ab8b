"""Where things lie: keys, buckets, images and logs, as they were asked for."""

import json
from dataclasses import replace
from typing import Any

from foundation_parts import STORE, lifecycle, small
from pulumi_parts import REGION, World

from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.duties import DUTIES
from infra_pulumi.components.keys import KeysArgs
from infra_pulumi.components.logs import LogsArgs
from infra_pulumi.components.registry import RegistryArgs


def test_keys_rotate_and_are_not_gone_at_once(bare_ground: World) -> None:
    for key in bare_ground.of("kms/key:Key").values():
        assert key.inputs["enableKeyRotation"] is True
        assert (key.inputs["rotationPeriodInDays"], key.inputs["deletionWindowInDays"]) == (365, 30)
        assert key.keeps
    quick = small(keys=KeysArgs(rotation_days=90, deletion_days=7, keep=False)).one("kms/key:Key", "key-data")
    assert (quick.inputs["rotationPeriodInDays"], quick.inputs["deletionWindowInDays"], quick.keeps) == (90, 7, False)


def test_copies_elsewhere_have_a_key_there() -> None:
    world = small(storage=replace(STORE, replicate_to="eu-west-1"), backup=BackupArgs(copy_to="eu-north-1"))
    assert {key.provider for key in world.of("kms/key:Key").values()} == {"aws", "aws-eu-west-1", "aws-eu-north-1"}


def test_only_our_log_groups_our_trail_and_senders_of_notices_use_the_key_of_logs(bare_ground: World) -> None:
    (document,) = bare_ground.one("kms/key:Key", "key-logs").documents()
    fences = [each.get("Condition") for each in document["Statement"][1:]]
    assert "log-group:/llmspec/bot-prod/*" in json.dumps(fences[0])
    assert "trail/bot-prod" in json.dumps(fences[1])
    assert fences[2:] == [{"StringEquals": {"aws:SourceAccount": "123456789012"}}, None]


def test_every_bucket_is_versioned_private_encrypted_and_speaks_tls_only(full_ground: World) -> None:
    buckets = set(full_ground.of("s3/bucket:Bucket"))
    assert buckets == {"store", "access-log", "replica", "trails"}
    for name in buckets:
        block = full_ground.one("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", name).inputs
        assert all(
            block[each] is True for each in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        )
        assert full_ground.one("s3/bucketVersioning:BucketVersioning", name).inputs["versioningConfiguration"] == {
            "status": "Enabled"
        }
        (policy,) = full_ground.one("s3/bucketPolicy:BucketPolicy", name).documents()
        refused = [
            each["Condition"] for each in policy["Statement"] if each["Effect"] == "Deny" and each["Principal"] == {"AWS": "*"}
        ]
        assert refused == [{"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": "1.2"}}]


def encryption(world: World, name: str) -> dict[str, Any]:
    (rule,) = world.one("s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", name).inputs["rules"]
    return {**rule["applyServerSideEncryptionByDefault"], "bucketKey": rule["bucketKeyEnabled"]}


def test_buckets_are_encrypted_by_our_keys_and_ask_for_them_rarely(full_ground: World) -> None:
    for name, key in {"store": "key-data", "replica": "key-copy-eu-west-1", "trails": "key-logs"}.items():
        found = encryption(full_ground, name)
        assert found["sseAlgorithm"] == "aws:kms"
        assert found["kmsMasterKeyId"].endswith(key)
        assert found["bucketKey"] is True
    assert encryption(full_ground, "access-log") == {"sseAlgorithm": "AES256", "bucketKey": False}


def test_by_age_alone_nothing_goes_that_may_be_live_and_the_rest_goes_in_the_copy_too(full_ground: World) -> None:
    folders = {"jobs": 365, "journal": 30, "engagement": 30, "undelivered": 30, "capture": 30}
    wanted = {f"models/bot/{folder}/": days for folder, days in folders.items()}
    assert lifecycle(full_ground, "store") == lifecycle(full_ground, "replica") == wanted


def test_without_retention_nothing_current_expires_but_what_was_deleted_is_erased(bare_ground: World) -> None:
    assert lifecycle(bare_ground, "store") == {}
    rule, *_ = bare_ground.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "store").inputs["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    sooner = small(storage=replace(STORE, noncurrent_days=3))
    rule, *_ = sooner.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "store").inputs["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 3}


def test_what_lives_as_long_as_a_job_is_erased_soon_and_copied_nowhere(bare_ground: World, full_ground: World) -> None:
    fleeting = {"models/bot/checkpoints/": 1, "models/bot/jobs/": 1}
    for world, store in ((bare_ground, "store"), (full_ground, "store"), (full_ground, "replica")):
        rules = world.one("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", store).inputs["rules"]
        gone = {rule["filter"]["prefix"]: rule.get("noncurrentVersionExpiration") for rule in rules}
        assert {prefix: days["noncurrentDays"] for prefix, days in gone.items() if days} == {"": 30, **fleeting}
        assert len({rule["id"] for rule in rules}) == len(rules)
    rules = full_ground.one("s3/bucketReplicationConfig:BucketReplicationConfig").inputs["rules"]
    copied = [rule["filter"]["prefix"] for rule in rules]
    assert not set(fleeting) & set(copied)
    written = {folder for duty in DUTIES.values() for folder in (*duty.reads, *duty.writes) if not folder.startswith("jobs")}
    assert {f"models/bot/{folder}/" for folder in (written - {"checkpoints"}) | {"foundation", "service"}} <= set(copied)
    assert len({rule["priority"] for rule in rules}) == len(rules)


def test_who_touches_the_store_is_logged_and_the_log_goes_in_time(bare_ground: World) -> None:
    assert bare_ground.one("s3/bucketLogging:BucketLogging", "store").inputs["targetBucket"] == "acme-llm-log"
    assert lifecycle(bare_ground, "access-log") == {"": 365}
    assert lifecycle(small(storage=replace(STORE, access_log_days=30)), "access-log") == {"": 30}


def test_the_store_is_copied_to_a_second_region_only_when_one_is_named(bare_ground: World, full_ground: World) -> None:
    assert not bare_ground.of("s3/bucketReplicationConfig:BucketReplicationConfig")
    rule, *_ = full_ground.one("s3/bucketReplicationConfig:BucketReplicationConfig").inputs["rules"]
    assert rule["destination"]["bucket"] == "arn:aws:s3:::acme-llm-eu-west-1"
    assert rule["destination"]["encryptionConfiguration"]["replicaKmsKeyId"].endswith("key-copy-eu-west-1")
    assert rule["sourceSelectionCriteria"] == {"sseKmsEncryptedObjects": {"status": "Enabled"}}
    assert full_ground.one("s3/bucket:Bucket", "replica").provider == "aws-eu-west-1"


def test_destroy_leaves_the_store_and_what_protects_it_unless_told_otherwise(bare_ground: World) -> None:
    about = [made for made in bare_ground.made if made.name == "store" and made.kind.startswith("aws:s3/")]
    assert len(about) == 8
    assert all(made.keeps for made in about)
    assert bare_ground.one("s3/bucket:Bucket", "store").inputs["forceDestroy"] is False
    gone = small(storage=replace(STORE, keep=False)).one("s3/bucket:Bucket", "store")
    assert (gone.keeps, gone.inputs["forceDestroy"]) == (False, True)


def test_a_store_without_a_prefix_begins_with_the_product() -> None:
    assert small(storage=replace(STORE, prefix="")).exports["product"] == "bot/"


def test_a_tag_names_one_image_for_ever_and_images_are_scanned(bare_ground: World) -> None:
    for repository in bare_ground.of("ecr/repository:Repository").values():
        assert repository.inputs["imageTagMutability"] == "IMMUTABLE"
        assert repository.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert repository.inputs["encryptionConfigurations"][0]["encryptionType"] == "KMS"


def test_images_are_built_from_the_bundle_in_the_store(bare_ground: World) -> None:
    project = bare_ground.one("codebuild/project:Project", "build-serving").inputs
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


def test_lambda_and_emr_fetch_images_only_for_our_functions_and_runs(bare_ground: World) -> None:
    fences = {}
    for image in ("serving", "training"):
        (document,) = bare_ground.one("ecr/repositoryPolicy:RepositoryPolicy", f"image-{image}").documents()
        fences[image] = document["Statement"][0]["Condition"]["ArnLike"]["aws:SourceArn"]
    function = f"arn:aws:lambda:{REGION}:123456789012:function:bot-prod"
    assert fences["serving"] == [function, f"{function}:*", f"{function}-*"]
    assert fences["training"] == [f"arn:aws:emr-serverless:{REGION}:123456789012:/applications/*"]


def test_logs_are_encrypted_and_kept_as_long_as_is_said() -> None:
    world = small(logs=LogsArgs(keep_days=30))
    assert {group.inputs["retentionInDays"] for group in world.of("cloudwatch/logGroup:LogGroup").values()} == {30}
    assert all(group.inputs["kmsKeyId"].endswith("key-logs") for group in world.of("cloudwatch/logGroup:LogGroup").values())
