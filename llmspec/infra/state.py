"""Where Pulumi's state lies: beside the store. Whoever has the artifacts at home has it at home; whoever shares them, shares it.

The shared one is a bucket of its own, `<store's bucket>-state`, made here and not by a stack: a stack needs its state before it can
make anything, and destroying a product must not destroy what tells what is left of it.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmspec.errors import PlaceError
from llmspec.home import home
from llmspec.shelf import Folder, Shelf, write_atomically
from llmspec.shelf_s3 import S3Shelf
from llmspec.spec import Spec

MARK = {"Key": "llmspec:stage", "Value": "state"}
"""Put on the bucket last: with it the bucket is complete."""


@dataclass(frozen=True)
class State:
    """A backend of Pulumi's that needs no account with anybody."""

    url: str
    secrets_provider: str
    env: Mapping[str, str] = field(default_factory=dict)
    """What the CLI needs to open it."""

    def stands(self) -> bool:
        """Whether it was made: until then no stack is there."""
        return self._folder.is_dir() if self._local else _complete(self._bucket, self._region)

    def make(self) -> None:
        """It and what encrypts it; again is nothing."""
        if self._local:
            _passphrase()
            self._folder.mkdir(parents=True, exist_ok=True)
        elif not self.stands():
            _make_bucket(self._bucket, self._region)

    @property
    def shelf(self) -> Shelf:
        """For what is written beside the states."""
        return Folder(self._folder) if self._local else S3Shelf.at(f"s3://{self._bucket}/llmspec")

    @property
    def _local(self) -> bool:
        return self.url.startswith("file://")

    @property
    def _folder(self) -> Path:
        return Path(self.url.removeprefix("file://"))

    @property
    def _bucket(self) -> str:
        return self.url.removeprefix("s3://").partition("?")[0]

    @property
    def _region(self) -> str:
        return self.url.rpartition("region=")[2]


def state_of(spec: Spec) -> State:
    """A folder here, or a bucket in the spec's region."""
    if not spec.store.startswith("s3://"):
        return local(home() / "pulumi" / "state")
    bucket = f"{spec.store.removeprefix('s3://').split('/')[0]}-state"
    return State(f"s3://{bucket}?region={spec.region}", f"awskms://alias/{bucket}?region={spec.region}")


def local(folder: Path) -> State:
    """Secrets in it are sealed with a passphrase: the environment's, or one that is made once."""
    given = any(os.environ.get(name) for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"))
    env = {} if given else {"PULUMI_CONFIG_PASSPHRASE_FILE": str(_phrase())}
    return State(f"file://{folder}", "passphrase", env)


def _phrase() -> Path:
    return home() / "pulumi" / "passphrase"


def _passphrase() -> None:
    """It keeps a copy of the state that gets about from being read, not this machine from its owner."""
    if _phrase().exists():
        return
    beside = _phrase().with_name(f"passphrase.{os.getpid()}")
    write_atomically(beside, secrets.token_urlsafe(32), mode=0o600)
    with contextlib.suppress(FileExistsError):  # of two who make one at once, the first one's seals the state
        _phrase().hardlink_to(beside)
    beside.unlink()


def _complete(bucket: str, region: str) -> bool:
    s3, refused = _client("s3", region)
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except refused as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchBucket", "NoSuchTagSet"):
            return False
        raise _denied(f"s3://{bucket}", error) from error
    return MARK in tags


def _make_bucket(bucket: str, region: str) -> None:
    """Private, encrypted, with versions: what a state says is the only list of what was made."""
    s3, refused = _client("s3", region)
    try:
        key = _key(f"alias/{bucket}", region)
        there = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            s3.create_bucket(Bucket=bucket, **there)
        except refused as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
        sse = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": sse, "BucketKeyEnabled": True}]}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        shut = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=shut)
        if s3.meta.endpoint_url.startswith("https:"):  # who reaches S3 through a gateway without TLS would shut himself out
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_tls_only(bucket, region)))
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [MARK]})
    except refused as error:
        raise _denied(f"s3://{bucket}", error) from error


def _key(alias: str, region: str) -> str:
    """The key that seals the secrets of the state, and the state itself."""
    kms, refused = _client("kms", region)
    try:
        return str(kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"])
    except refused as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
    tags = [{"TagKey": MARK["Key"], "TagValue": MARK["Value"]}]
    made = kms.create_key(Description=f"{alias.removeprefix('alias/')}: Pulumi's state", Tags=tags)["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
    kms.enable_key_rotation(KeyId=made["KeyId"])
    return str(made["Arn"])


def _tls_only(bucket: str, region: str) -> dict[str, Any]:
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    arn = f"arn:{partition}:s3:::{bucket}"
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return {"Version": "2012-10-17", "Statement": [statement | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}


def _client(service: str, region: str) -> tuple[Any, Any]:
    """A client, and the exception by which it says no."""
    try:
        import boto3
        from botocore.exceptions import ClientError
    except ImportError as error:
        raise PlaceError("boto3 is not installed\n  pip install 'llmspec[aws]'") from error
    return boto3.client(service, region_name=region), ClientError


def _denied(where: str, error: Any) -> PlaceError:
    said = error.response["Error"]
    return PlaceError(
        f"{where}, for the state of the stacks: {said.get('Message') or said['Code']} ({said['Code']})\n"
        "  who applies needs s3:CreateBucket, s3:PutBucket*, s3:GetBucketTagging, kms:CreateKey and kms:CreateAlias, once"
    )
