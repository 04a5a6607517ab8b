"""SageMaker's endpoints as far as moto lacks them, with the real serving door behind them; and the service stack by boto3."""

import hashlib
import tarfile
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import boto3
import httpx
from botocore.exceptions import ClientError
from cloud_parts import Answer, Copies, Front, as_json, frame
from moto.sagemaker.models import sagemaker_backends
from moto_parts import REGION
from serving_parts import PLAIN

from infra_pulumi.owner import Owner
from infra_pulumi.serving.sagemaker_configuration import immutable_name
from llmspec import container
from llmspec.infra import archive
from llmspec.release import Release

ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/tiny-serving:1.0"
ALARM = "tiny-prod-error-rate"


class Hosting(Front):
    """UpdateEndpoint, what DescribeEndpoint says of images, and InvokeEndpoint."""

    handled = frozenset({"SageMaker.UpdateEndpoint", "SageMaker.DescribeEndpoint"})
    paths = ("/invocations", "/invocations-response-stream")

    def __init__(self) -> None:
        super().__init__()
        self.copies: Copies
        self.ways = [self.update, self.describe, self.invoke]
        self.rolls_back = False
        """UpdateEndpoint succeeds, and the old configuration stays."""
        self.states: list[str] = []
        """What DescribeEndpoint says before it says what it has."""
        self.reason = ""
        self.image = ""
        """Runs in place of what the model names."""
        self.swapped: Release | None = None
        """Answers in place of what the model says."""
        self.asked: list[dict[str, str]] = []

    @property
    def backend(self) -> Any:
        return sagemaker_backends[ACCOUNT][REGION]

    def update(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        if target != "SageMaker.UpdateEndpoint":
            return None
        asked = _json(body)
        endpoint = self.backend.endpoints[asked["EndpointName"]]
        if not self.rolls_back:
            configuration = self.backend.endpoint_configs[asked["EndpointConfigName"]]
            endpoint.endpoint_config_name = asked["EndpointConfigName"]
            endpoint.production_variants = endpoint._process_production_variants(configuration.production_variants)
        return as_json({"EndpointArn": endpoint.arn})

    def describe(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        if target != "SageMaker.DescribeEndpoint":
            return None
        name = _json(body)["EndpointName"]
        if name not in self.backend.endpoints:
            said = {"__type": "ValidationException", "message": f'Could not find endpoint "{name}".'}
            return as_json(said, "400 Bad Request")
        endpoint = self.backend.endpoints[name]
        said = dict(endpoint.response_object)
        said["LastModifiedTime"] = said["CreationTime"] = 1_790_000_000.0
        state = self.states.pop(0) if self.states else said["EndpointStatus"]
        said["EndpointStatus"] = state
        said |= {"FailureReason": self.reason} if self.reason else {}
        said["LastDeploymentConfig"] = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]}}
        configuration = self.backend.endpoint_configs[endpoint.endpoint_config_name]
        models = {each["VariantName"]: each["ModelName"] for each in configuration.production_variants}
        said["ProductionVariants"] = [
            {
                **variant,
                "DeployedImages": [{"SpecifiedImage": self.image or self._container(models[variant["VariantName"]])["Image"]}],
            }
            for variant in endpoint.production_variants
        ]
        return as_json(said)

    def _container(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = self.backend._models[model].primary_container
        return found

    def _model(self, told: dict[str, Any]) -> str:
        """Where the container's artifact lies: a prefix, or the folder that an archive was unpacked into."""
        if "ModelDataUrl" not in told:
            return str(told["ModelDataSource"]["S3DataSource"]["S3Uri"])
        bucket, _, key = told["ModelDataUrl"].removeprefix("s3://").partition("/")
        packed = self.copies.aws.body(bucket, key)
        folder = self.copies.folder / hashlib.sha256(packed).hexdigest()
        if not folder.exists():
            with tarfile.open(fileobj=BytesIO(packed), mode="r:gz") as held:
                held.extractall(folder, filter="data")
        return str(folder)

    def invoke(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        """The real door answers; SageMaker passes on the type and one header, and wraps what goes wrong."""
        _, _, name, verb = unquote(path).split("/")
        endpoint = self.backend.endpoints[name]
        configuration = self.backend.endpoint_configs[endpoint.endpoint_config_name]
        side = environ.get("HTTP_X_AMZN_SAGEMAKER_TARGET_VARIANT") or configuration.production_variants[0]["VariantName"]
        model = next(each["ModelName"] for each in configuration.production_variants if each["VariantName"] == side)
        told = self._container(model)
        environment = dict(told["Environment"])
        if self.swapped:
            environment = {key: value for key, value in environment.items() if not key.startswith(container.RELEASE)}
            environment |= container.packed(self.swapped)
        environment[container.MODEL] = self._model(told)
        self.asked.append({"verb": verb, "side": side})
        copy = self.copies.of(environment)
        said = httpx.post(
            f"{copy.url}/invocations", content=body, headers={"content-type": "application/json"}, timeout=60, verify=PLAIN
        )
        attributes = said.headers.get("x-amzn-sagemaker-custom-attributes", "")
        headers = [("x-Amzn-Invoked-Production-Variant", side), ("X-Amzn-SageMaker-Custom-Attributes", attributes)]
        if said.status_code != 200:
            fault = {
                "Message": said.text,
                "OriginalStatusCode": said.status_code,
                "OriginalMessage": said.text,
                "LogStreamArn": "arn",
            }
            status, kind, told = as_json(fault, "424 Failed Dependency")
            return status, [*kind, ("x-amzn-ErrorType", "ModelError")], told
        if verb == "invocations":
            return "200 OK", [*headers, ("Content-Type", said.headers["content-type"])], said.content
        headers += [("X-Amzn-SageMaker-Content-Type", said.headers["content-type"])]
        parts = [said.content[at : at + 50] for at in range(0, len(said.content), 50)]  # cut anywhere
        kind = {"message_type": "event", "event_type": "PayloadPart", "content_type": "application/octet-stream"}
        stream = b"".join(frame(part, **kind) for part in parts)
        return "200 OK", [*headers, ("Content-Type", "application/vnd.amazon.eventstream")], stream


def _json(body: bytes) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(body)
    return found


class SageMakerStack:
    """What the program of the service stack makes, made by boto3 under the names that the program gives."""

    ups = 0
    before_up: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, site: Any, release: Release, others: dict[str, tuple[Release, int]] | None = None, url: str = "openai/v1"):
        self.site, self.release, self.url = site, release, url
        self.sides = {"primary": (release, 100), **(others or {})}
        self.owner = Owner(site.name, site.target, site.region)
        self.aws = boto3.client("sagemaker", region_name=site.region)
        self.name = self.owner.prefix

    def up(self, say: Callable[[str], None]) -> dict[str, Any]:
        type(self).ups += 1
        self.before_up()
        archive.ready(self.site, self.release, say)
        models = {side: self._model(release) for side, (release, _) in self.sides.items()}
        configuration = self._configuration(models)
        try:
            now = self.aws.describe_endpoint(EndpointName=self.name)["EndpointConfigName"]
            if now != configuration:
                self.aws.update_endpoint(EndpointName=self.name, EndpointConfigName=configuration)
        except ClientError:
            self.aws.create_endpoint(EndpointName=self.name, EndpointConfigName=configuration)
        host = f"https://runtime.sagemaker.{self.site.region}.amazonaws.com/endpoints/"
        names = {"endpoint": self.name, "configuration": configuration, "models": models}
        return {"url": f"{host}{self.name}/{self.url}", "names": {**names, "log_group": f"/aws/sagemaker/Endpoints/{self.name}"}}

    def destroy(self, say: Callable[[str], None]) -> None:
        configuration = self.aws.describe_endpoint(EndpointName=self.name)["EndpointConfigName"]
        self.aws.delete_endpoint(EndpointName=self.name)
        self.aws.delete_endpoint_config(EndpointConfigName=configuration)

    def _model(self, release: Release) -> str:
        name = immutable_name(self.owner, release.number, [container.packed(release)])
        environment = {**container.packed(release), container.GRANTS: "use"}
        told = {"Image": IMAGE, "Environment": environment, **self._data(release)}
        if name not in [each["ModelName"] for each in self.aws.list_models()["Models"]]:
            role = f"arn:aws:iam::{ACCOUNT}:role/endpoint"
            self.aws.create_model(ModelName=name, PrimaryContainer=told, ExecutionRoleArn=role)
        return name

    def _data(self, release: Release) -> dict[str, Any]:
        if archive.wanted(self.site.spec):
            return {"ModelDataUrl": archive.address(release)}
        source = {"S3Uri": release.artifact.rstrip("/") + "/", "S3DataType": "S3Prefix", "CompressionType": "None"}
        return {"ModelDataSource": {"S3DataSource": source}}

    def _configuration(self, models: dict[str, str]) -> str:
        name = immutable_name(self.owner, self.release.number, [models, {side: weight for side, (_, weight) in self.sides.items()}])
        variants = [
            {
                "VariantName": side,
                "ModelName": models[side],
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weight,
            }
            for side, (_, weight) in self.sides.items()
        ]
        tags = [{"Key": key, "Value": value} for key, value in self.owner.tagged("endpoint", self.release.number).items()]
        if name not in [each["EndpointConfigName"] for each in self.aws.list_endpoint_configs()["EndpointConfigs"]]:
            self.aws.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, Tags=tags)
        return name
