"""A CodeBuild of tests before moto, which keeps no variables and no tokens: builds go through phases, and push as build.sh does."""

import json
import re
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import boto3
from moto_parts import REGION

if TYPE_CHECKING:
    from moto_parts import Moto

PREFIX = "CodeBuild_20161006."
PHASES = ("PROVISIONING", "DOWNLOAD_SOURCE", "BUILD")
KIND = "application/vnd.docker.distribution.manifest.v2+json"


def client(aws: "Moto", service: str) -> Any:
    return boto3.client(service, REGION, endpoint_url=aws.url, aws_access_key_id="testing", aws_secret_access_key="testing")


def push(aws: "Moto", repository: str, tag: str) -> None:
    """An image in name only."""
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": f"sha256:{abs(hash(tag)):064}"}, "layers": []})
    client(aws, "ecr").put_image(repositoryName=repository, imageManifest=manifest, imageManifestMediaType=KIND, imageTag=tag)


@dataclass
class CodeBuild:
    """A WSGI application before moto's."""

    app: Any
    aws: "Moto"
    builds: list[dict[str, Any]] = field(default_factory=list)
    """In the order in which they began."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Each StartBuild."""
    fails: bool = False
    pushes: bool = True
    looks: int = len(PHASES)
    """How often a build is looked at before it ends."""
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if not target.startswith(PREFIX):
            return self.app(environ, start_response)
        body = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        environ["wsgi.input"] = BytesIO(b"")
        status, said = getattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", target.removeprefix(PREFIX)).lower())(body)
        text = json.dumps(said).encode()
        start_response(status, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(text)))])
        return [text]

    def start_build(self, body: dict[str, Any]) -> tuple[str, Any]:
        self.asked.append(body)
        known = self._tokens.get(body["idempotencyToken"])
        if known:
            return "200 OK", {"build": known}
        if any(build["buildStatus"] == "IN_PROGRESS" and build["projectName"] == body["projectName"] for build in self.builds):
            return "400 Bad Request", {"__type": "AccountLimitExceededException", "message": "one at a time"}
        made = {
            "id": f"{body['projectName']}:{len(self.builds):08}",
            "projectName": body["projectName"],
            "buildStatus": "IN_PROGRESS",
            "currentPhase": "SUBMITTED",
            "startTime": time.time(),
            "source": {"type": "S3", "location": body["sourceLocationOverride"]},
            "environment": {"environmentVariables": body["environmentVariablesOverride"]},
            "looked": 0,
        }
        self.builds.append(made)
        self._tokens[body["idempotencyToken"]] = made
        return "200 OK", {"build": made}

    def list_builds_for_project(self, body: dict[str, Any]) -> tuple[str, Any]:
        return "200 OK", {"ids": [each["id"] for each in reversed(self.builds) if each["projectName"] == body["projectName"]]}

    def batch_get_builds(self, body: dict[str, Any]) -> tuple[str, Any]:
        found = [each for each in self.builds if each["id"] in body["ids"]]
        for each in found:
            if each["buildStatus"] == "IN_PROGRESS":
                self._go_on(each)
        return "200 OK", {"builds": found}

    def _go_on(self, build: dict[str, Any]) -> None:
        build["looked"] += 1
        if build["looked"] <= self.looks:
            build["currentPhase"] = PHASES[min(build["looked"], len(PHASES)) - 1]
            return
        build |= {"endTime": build["startTime"] + 540, "currentPhase": "COMPLETED"}
        stream = {"groupName": "/llmspec/tiny-prod/build", "streamName": build["id"].replace(":", "/")}
        if self.fails:
            context = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": "Error while executing command: exit status 1"}]
            phases = [{"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": context}]
            build |= {"buildStatus": "FAILED", "phases": phases, "logs": stream}
            return
        build |= {"buildStatus": "SUCCEEDED", "logs": stream}
        if self.pushes:
            self._push(build)

    def _push(self, build: dict[str, Any]) -> None:
        """What containers/build.sh does with these variables."""
        told = {each["name"]: each["value"] for each in build["environment"]["environmentVariables"]}
        if told.get("ONLY") != "spark":
            push(self.aws, build["projectName"], told["TAG"])
        if told.get("ONLY") == "spark":
            bucket, _, rest = build["source"]["location"].partition("/")
            key = f"{rest.rpartition('/')[0]}/spark-{told['TAG']}.tar.gz"
            self.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"archive")
