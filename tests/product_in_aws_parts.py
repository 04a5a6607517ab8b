"""A product in AWS as its user has it: the command line as processes, `pulumi` on the path, one server that is all of AWS.

moto's server, before it a SageMaker that serves (`sagemaker_parts`), and before that one that does jobs (`fake_sagemaker`).
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from cloud_parts import Copies
from conftest import TINY, Project
from fake_codebuild import push
from fake_sagemaker import SageMaker
from moto_parts import REGION, Moto, listening
from pulumi_engine_parts import Engine, engine_in
from sagemaker_parts import Hosting
from serving_parts import eventually

from llmspec.infra.images import tag

BUCKET = "acme-models"
TARGET = """\
targets:
  prod:
    region: {region}
    store: s3://{bucket}/llm
    places:
      data: local
      features: local
      model: {{sagemaker: {{instance: ml.m5.large, max_runtime: 1h}}}}
      onnx: local
      evaluation: local
      endpoint: {{sagemaker: {{instance: ml.m5.large}}}}
    governance: {{waive: [{waived}]}}
"""
CHECKS = ("alarms", "audit", "backup", "budget", "guards", "rate-limit", "retention", "copies")
PROD = ("tiny.yaml", "--target", "prod")
TAGS = [{"Key": "llmspec:name", "Values": ["tiny"]}, {"Key": "llmspec:target", "Values": ["prod"]}]
POINTER = "llm/tiny/endpoint/prod/live.json"
CLIP = "clip: 1000"
"""More than any gradient has. Another number as large makes the same weights under another key, so that only the model is made
again: what was made of it is found."""


def spec() -> str:
    waived = ", ".join(f"{{check: {check}, reason: A product of a test.}}" for check in CHECKS)
    text = TINY.replace("batch_tokens: 512}", f"batch_tokens: 512, {CLIP}}}")
    assert text != TINY
    return text + TARGET.format(region=REGION, bucket=BUCKET, waived=waived)


@dataclass
class Cloud:
    """All of AWS, and one user's folder."""

    aws: Moto
    hosting: Hosting
    jobs: SageMaker
    engine: Engine
    project: Project
    said: list[str] = field(default_factory=list)
    """What its first applies printed."""
    made: str = ""
    """The spec that was applied last: it is what an `apply` finds nothing to change at."""

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.aws.url, **keys)

    def apply(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = self.project.run("apply", *PROD, "--yes", *words, check=check)
        if done.returncode == 0 and not words:
            self.made = self.project.spec.read_text(encoding="utf-8")
        return done

    def paper(self, part: str) -> dict[str, Any]:
        """What a stack gave, as the store has it."""
        found: dict[str, Any] = json.loads(self.aws.body(BUCKET, f"llm/tiny/{part}/prod.json"))
        return found

    def put_images(self) -> None:
        """As CodeBuild would: images of this source in the repositories that the foundation made."""
        repositories = self.paper("foundation")["repositories"]
        for name, variant in (("training", "cpu"), ("serving", "cpu")):
            push(self.aws, repositories[name].partition("/")[2], tag(name, variant))

    def pointer(self) -> dict[str, Any]:
        """Which release the store says is live, to the letter."""
        found: dict[str, Any] = json.loads(self.aws.body(BUCKET, POINTER))
        return found

    def stands(self) -> bool:
        """Whether what the spec asks for is what is up."""
        return self.made == self.project.spec.read_text(encoding="utf-8") and "tiny-prod" in self.hosting.backend.endpoints

    def live(self) -> tuple[int, str]:
        """The release of the pointer, and the configuration that the endpoint really has."""
        return self.pointer()["release"], self.hosting.backend.endpoints["tiny-prod"].endpoint_config_name

    def serving(self) -> dict[str, Any]:
        """What SageMaker and the stacks' states have: all that a change would show in."""
        api = self.client("sagemaker")
        state = f"{BUCKET}-state"
        stacks = {key: self.aws.body(state, key) for key in self.aws.keys(state) if "/stacks/" in key}
        return {
            "models": sorted(each["ModelName"] for each in api.list_models()["Models"]),
            "configurations": sorted(each["EndpointConfigName"] for each in api.list_endpoint_configs()["EndpointConfigs"]),
            "endpoints": {name: each.endpoint_config_name for name, each in self.hosting.backend.endpoints.items()},
            "jobs": sorted(self.jobs.boxes),
            "things": self.engine.things(),
            "stacks": stacks,
        }

    def tagged(self) -> set[str]:
        pages = self.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=TAGS)
        arns = {each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]}
        return {arn.removeprefix("('").removesuffix("',)") for arn in arns}  # so moto says a configuration's

    def orphans(self) -> set[str]:
        """What carries our tags and is in no stack. Records of jobs that have ended are in none."""
        return {arn for arn in self.tagged() - self.held() if ":training-job/" not in arn}

    def held(self) -> set[str]:
        """The ARNs that the states of both stacks know."""
        known = set()
        for part in ("foundation", "service"):
            key = f".pulumi/stacks/llmspec/tiny-prod-{part}.json"
            if key not in self.aws.keys(f"{BUCKET}-state"):
                continue  # it was destroyed
            found = json.loads(self.aws.body(f"{BUCKET}-state", key))["checkpoint"]["latest"]
            assert not found.get("pending_operations")
            known |= {str((each.get("outputs") or {}).get("arn")) for each in found["resources"]}
        return known

    @contextmanager
    def begun(self, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """An apply under way, which does not outlive the block."""
        command = self.project.command("apply", *PROD, "--yes", *words)
        env = {**self.project.environment(), **environment}
        with subprocess.Popen(
            command, cwd=self.project.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def killed_at(self, moment: str, *words: str) -> None:
        """`kill -9` of both while Pulumi stands there: `before:endpoint`."""
        paused = self.engine.cloud / "paused"
        with self.begun(*words, PULUMI_ENGINE_PAUSE=moment) as process:
            eventually(lambda: (paused.exists() and paused.read_text()) or process.poll() is not None, 120)
            assert process.poll() is None, process.communicate()[0]
            os.kill(int(paused.read_text()), signal.SIGKILL)
        paused.unlink()

    def killed_before(self, request: str, *words: str) -> None:
        """`kill -9` while this request, which is never answered, is under way: `PUT /bucket/key`."""
        gate = self.aws.gate
        with gate.closed(lambda asked: asked.startswith(request), stand=True), self.begun(*words) as process:
            eventually(lambda: gate.reached.is_set() or process.poll() is not None, 120)
            assert process.poll() is None, process.communicate()[0]
            process.kill()
            process.wait()

    def killed_while(self, true: Callable[[], object], *words: str) -> None:
        with self.begun(*words) as process:
            eventually(lambda: true() or process.poll() is not None, 120)
            assert process.poll() is None, process.communicate()[0]


@contextmanager
def in_aws(folder: Path, made: Project) -> Iterator[Cloud]:
    hosting = Hosting()
    with listening(hosting.before) as aws, ExitStack() as stack:
        jobs = SageMaker(aws.gate.app, aws, folder / "jobs")
        aws.gate.app = jobs
        stack.callback(jobs.close)
        (folder / "containers").mkdir()
        hosting.copies = Copies(aws, folder / "containers", stack)
        engine = engine_in(folder / "engine")
        made.env |= {**aws.env, **engine.env}
        hosting.backend.reset()
        yield Cloud(aws, hosting, jobs, engine, made.write(spec()))
