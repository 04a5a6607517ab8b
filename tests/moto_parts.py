"""AWS's API as moto speaks it: a real HTTP server of the test's own, and a bucket in it."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


@dataclass(frozen=True)
class Aws:
    """Where it listens, and what a process needs in its environment to find it."""

    url: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def s3(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, **keys)

    def bucket(self) -> str:
        """A new bucket, encrypted with a key of KMS by default, as the foundation makes it."""
        name = f"shop-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/shop"}
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]}
        self.s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=rules)
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in found for item in page.get("Contents", [])]

    def body(self, bucket: str, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


@contextmanager
def listening() -> Iterator[Aws]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    try:
        yield Aws(url, {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true", **keys})
    finally:
        server.stop()


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    """One server for all tests; each makes a bucket of its own."""
    with listening() as found:
        yield found


@pytest.fixture
def aws_here(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """For tests that speak to it from their own process."""
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws
