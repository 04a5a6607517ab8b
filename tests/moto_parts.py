"""AWS's API as moto speaks it: a real HTTP server of the test's own, buckets in it, and a gate before it to make it fail."""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

REGION = "eu-central-1"


@dataclass
class Gate:
    """What was asked, and which requests do not get through."""

    app: Any
    asked: list[str] = field(default_factory=list)
    """`PUT /bucket/key?query`, in order."""
    shut: Callable[[str], bool] = lambda _: False
    code: str = ""
    """What they are told."""
    reached: Event = field(default_factory=Event)
    """Set when somebody stands before it."""
    opened: Event = field(default_factory=Event)
    """While it is not set, they stand there; then they are denied."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        query = environ.get("QUERY_STRING", "")
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}" + (f"?{query}" if query else "")
        self.asked.append(asked)
        if not self.shut(asked):
            return self.app(environ, start_response)
        self.reached.set()
        self.opened.wait(60)
        told = f"<Error><Code>{self.code}</Code><Message>not for you</Message></Error>".encode()
        start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(told)))])
        return [told]

    @contextmanager
    def closed(self, shut: Callable[[str], bool], stand: bool = False, code: str = "AccessDenied") -> Iterator[None]:
        """Requests of this kind are denied: at once, or only when the block ends."""
        self.reached.clear()
        if stand:
            self.opened.clear()
        else:
            self.opened.set()
        self.shut, self.code = shut, code
        try:
            yield
        finally:
            self.shut = lambda _: False
            self.opened.set()


@dataclass(frozen=True)
class Moto:
    """Where it listens, and what a process needs in its environment to find it."""

    url: str
    env: dict[str, str]
    gate: Gate

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
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def body(self, bucket: str, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


class _Front(DomainDispatcherApplication):
    """Which service a name is of is found once: moto lists its own folders for each request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self.get_backend_for_host = cache(super().get_backend_for_host)


@contextmanager
def listening(before: Callable[[Any], Any] = lambda app: app) -> Iterator[Moto]:
    """`before` puts an application in front of it, for what it lacks."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    gate = Gate(before(_Front()))
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    httpx.post(f"{url}/moto-api/reset").raise_for_status()  # what it knows is the process's, whichever server was asked
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    try:
        yield Moto(url, {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true", **keys}, gate)
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def aws() -> Iterator[Moto]:
    """One server, and an empty account, for all tests of a file; each makes a bucket of its own."""
    with listening() as found:
        yield found


@pytest.fixture
def aws_here(aws: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """For tests that speak to it from their own process."""
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws
