"""AWS for the serving places' tests: moto's real HTTP server, what it lacks in front of it, and a service stack made by boto3."""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

import boto3
import pytest
from conftest import Project
from container_parts import Container, serving
from moto_parts import REGION, Moto, listening

from backends.places import cloud
from llmspec import container
from llmspec.deploy import Deployed, deploy
from llmspec.progress import Event
from llmspec.progress import listening as hearing
from llmspec.release import Release
from llmspec.shelf import S3, Folder
from llmspec.stage import Product
from llmspec.store import remember_store

TARGETS = """\
targets:
  local: {default: true}
  prod:
    region: eu-central-1
    store: s3://BUCKET/llm
    places: {endpoint: PLACE}
"""
Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers, body."""


_ANY = Release(0, "", "", "", "", "", "", {})
"""To take a stack away its program is not run."""


class Front:
    """A WSGI application before moto's: what moto lacks is answered here, the rest goes on to it."""

    def __init__(self) -> None:
        self.app: Any = None
        self.ways: list[Callable[[str, str, dict[str, Any], bytes], Answer | None]] = []
        """Path, X-Amz-Target, the environment, the body."""
        self.failing: dict[str, str] = {}
        """Target -> the code that it is refused with."""

    def before(self, app: Any) -> "Front":
        self.app = app
        return self

    def __call__(self, environ: Any, start_response: Any) -> Any:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target in self.failing:
            refused = json.dumps({"__type": self.failing[target], "message": "not now"}).encode()
            start_response(
                "400 Bad Request", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(refused)))]
            )
            return [refused]
        if target not in self.handled and not environ["PATH_INFO"].endswith(self.paths):
            return self.app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        for way in self.ways:
            if answer := way(environ["PATH_INFO"], target, environ, body):
                status, headers, said = answer
                start_response(status, [*headers, ("Content-Length", str(len(said)))])
                return [said]
        environ["wsgi.input"] = BytesIO(body)
        return self.app(environ, start_response)

    handled: frozenset[str] = frozenset()
    """By what the header says."""
    paths: tuple[str, ...] = ()
    """By how the path ends."""


def frame(payload: bytes, **headers: str) -> bytes:
    """One event of AWS's binary stream."""
    told = b"".join(
        struct.pack("!B", len(name) + 1)
        + b":"
        + name.replace("_", "-").encode()
        + b"\x07"
        + struct.pack("!H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(told) + len(payload), len(told))
    whole = prelude + struct.pack("!I", crc32(prelude)) + told + payload
    return whole + struct.pack("!I", crc32(whole))


def as_json(said: Any, status: str = "200 OK") -> Answer:
    return status, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(said, default=str).encode()


@dataclass
class Copies:
    """Serving containers of a test: the real door, once for each release, with its artifact as the platform brings it from S3."""

    aws: Moto
    folder: Path
    stack: ExitStack
    running: dict[tuple[int, str, str], Container] = field(default_factory=dict)

    def of(self, environment: dict[str, str]) -> Container:
        release, address = container.unpacked(environment), environment[container.MODEL]
        known = (release.number, release.content, "" if address.startswith(S3) else address)
        if known not in self.running:
            where = {"TMPDIR": str(self.folder), **self.aws.env}
            told = {name: value for name, value in environment.items() if not name.startswith((container.RELEASE, container.MODEL))}
            self.running[known] = self.stack.enter_context(serving(address, release, **{**told, **where})).ready()
        return self.running[known]


@dataclass
class Shop:
    """A product that was made on a laptop, and is to be served in AWS."""

    project: Project
    aws: Moto
    heard: list[Event] = field(default_factory=list)

    def product(self) -> Product:
        product = Product.open(self.project.spec, "prod")
        product.settle()
        return product.fresh()

    def deploy(self) -> Deployed:
        product = self.product()
        with hearing(self.heard.append):
            return deploy(product, product.place("endpoint"))

    def pointed(self) -> int | None:
        live = Product.open(self.project.spec, "prod").releases.live()
        return live.number if live else None

    def notes(self) -> list[str]:
        return [event.facts["text"] for event in self.heard if event.kind == "note"]

    def limit(self, tokens: int) -> "Shop":
        """Another release of the same artifact: other limits are another content."""
        text = self.project.spec.read_text(encoding="utf-8")
        before, _, after = text.partition("concurrency: ")
        self.project.write(before + f"concurrency: {tokens}" + after[1:])
        return self

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=self.aws.url)


def shop(made: Project, aws: Moto, patch: pytest.MonkeyPatch, place: str) -> Shop:
    """A product that was applied on a laptop, with a target in AWS whose store is a bucket."""
    for name, value in {**aws.env, "LLMSPEC_HOME": str(made.folder / ".llmspec")}.items():
        patch.setenv(name, value)
    patch.chdir(made.folder)
    patch.setattr(cloud, "EVERY_SECONDS", 0.05)
    remember_store("tiny", Folder(made.store))
    text = made.spec.read_text(encoding="utf-8")
    made.write(text + TARGETS.replace("BUCKET", aws.bucket()).replace("PLACE", place))
    return Shop(made, aws)


def stacks(patch: pytest.MonkeyPatch, made: Callable[[Any, Release], Any]) -> None:
    """In place of `llmspec.infra.stacks`."""
    module = ModuleType("llmspec.infra.stacks")
    module.service_stack = made  # type: ignore[attr-defined]
    module.standing = lambda site, part: made(site, _ANY)  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "llmspec.infra.stacks", module)
    patch.setattr("llmspec.infra.stacks", module, raising=False)


@contextmanager
def cloud_with(front: Front) -> Iterator[Moto]:
    with listening(front.before) as aws:
        yield aws
