"""What tests of the service stack share: a foundation that is only names, a release, and mocks that keep what was registered."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc

from infra_pulumi.owner import Owner
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import Ground, PlaceArgs, Release, Serving
from llmspec.infra.listed import own_loop

OWNER = Owner("bot", "prod", "eu-central-1", {"cost-center": "cx-42"})
GROUND = Ground(
    key_arn="arn:aws:kms:eu-central-1:111122223333:key/data",
    log_key_arn="arn:aws:kms:eu-central-1:111122223333:key/logs",
    endpoint_role_arn="arn:aws:iam::111122223333:role/bot-prod-endpoint",
    vpc_id="vpc-1",
    subnet_ids=("subnet-a", "subnet-b", "subnet-c"),
    security_group_ids=("sg-work",),
    repository_arn="arn:aws:ecr:eu-central-1:111122223333:repository/bot-prod-serving",
    log_group="/llmspec/bot-prod/endpoint",
    monitors_log_group="/llmspec/bot-prod/monitors",
    capture="s3://acme-llm/bot/capture",
    cidr="10.42.0.0/16",
    doors_group_id="sg-doors",
    public_subnet_ids=("subnet-x", "subnet-y"),
    streams={
        name: f"arn:aws:firehose:eu-central-1:111122223333:deliverystream/bot-prod-{name}" for name in ("journal", "engagement")
    },
    carrier_role_arn="arn:aws:iam::111122223333:role/bot-prod-carrier",
    user_pool_arn="arn:aws:cognito-idp:eu-central-1:111122223333:userpool/eu-central-1_abc",
)


def release(number: int = 13, **more: Any) -> Release:
    """One of a few releases, each with an artifact and a digest of its own."""
    given = {
        "artifact": f"s3://acme-llm/bot/onnx/key{number}/",
        "image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/bot-prod-serving:1",
        "digest": f"{number:064x}",
        "environment": {"LLMSPEC_RELEASE": f"packed-{number}"},
        "archive": f"s3://acme-llm/bot/onnx/key{number}.tar.gz",
    }
    return Release(number, **{**given, **more})


def serving(place: PlaceArgs, **more: Any) -> Serving:
    return Serving(**{"owner": OWNER, "release": release(), "place": place, "ground": GROUND, **more})


@dataclass
class Made:
    """What a program registered."""

    resources: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Type, name, inputs as the provider gets them, secrets still wrapped."""
    outputs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """`sagemaker/endpoint:Endpoint endpoint` -> the request as the engine gets it: what it waits for, and how long."""

    def after(self, what: str) -> set[str]:
        """`type name` of whatever a resource waits for."""
        found = [urn.split("::")[2:] for urn in self.options[what].dependencies]
        return {f"{type_.rpartition('$')[2].removeprefix('aws:')} {name}" for type_, name in found}

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """`sagemaker/model:Model` -> the resources of that type, by name."""
        return {name: plain(inputs) for type_, name, inputs in self.resources if type_ == f"aws:{kind}"}

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind).values()
        return found

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every statement of every policy, with the resource that holds it. What it names is a list, however IAM writes it."""
        for type_, name, inputs in self.resources:
            for key in ("policy", "assumeRolePolicy"):
                if isinstance(inputs.get(key), str) and inputs[key].startswith("{"):
                    for statement in json.loads(inputs[key])["Statement"]:
                        named = statement.get("Resource", [])
                        yield f"{type_} {name}", {**statement, "Resource": [named] if isinstance(named, str) else named}


def plain(value: Any) -> Any:
    """Secrets unwrapped, whole floats as the integers that they were before protobuf."""
    if rpc.is_rpc_secret(value):
        return plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Mocks(mocks.Mocks):
    """Gives each resource an ARN and what AWS alone could say, and keeps its inputs."""

    def __init__(self, made: Made):
        self._made = made

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.custom is False:
            return None, args.inputs
        self._made.resources.append((args.typ, args.name, dict(args.inputs)))
        kind = args.typ.split(":")[1].split("/")[0]
        name = args.inputs.get("name", args.name)
        said = {
            "arn": f"arn:aws:{kind}:eu-central-1:111122223333:{args.name}",
            "name": name,
            "arnSuffix": f"app/{name}/1",
            "dnsName": f"{name}.elb.example",
            "zoneId": "Z1",
            "version": "7",
            "latestVersion": 3,
            "fqdn": "proof.example",
            "rootResourceId": "root",
            "executionArn": "arn:aws:execute-api:eu-central-1:111122223333:api",
            "invokeUrl": f"https://api.example/{args.inputs.get('stageName', '')}",
            "domainValidationOptions": [{"resourceRecordName": "_x", "resourceRecordType": "CNAME", "resourceRecordValue": "_y"}],
        }
        if args.typ == "aws:eks/cluster:Cluster":
            network = {**args.inputs["vpcConfig"], "clusterSecurityGroupId": "sg-cluster"}
            return f"{args.name}-id", {**said, **args.inputs, "vpcConfig": network}
        return f"{args.name}-id", {**said, **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None] | dict[Any, Any]:
        if args.token == "aws:lb/getHostedZoneId:getHostedZoneId":
            return {"id": f"Z-{args.args['loadBalancerType']}-{args.args['region']}"}
        return {"accountId": "111122223333", "arn": "arn:aws:iam::111122223333:root", "userId": "x", "id": "111122223333"}


class _Monitor(mocks.MockMonitor):
    """Keeps the options, which mocks are not told."""

    def __init__(self, answers: mocks.Mocks, made: Made):
        super().__init__(answers)
        self._made = made

    def RegisterResource(self, request: Any) -> Any:
        self._made.options[f"{request.type.removeprefix('aws:')} {request.name}"] = request
        return super().RegisterResource(request)


def run(wanted: Serving) -> Made:
    """The real program, under mocks."""
    from infra_pulumi.service import service

    made = Made()

    @pulumi.runtime.test  # type: ignore[misc]
    def program() -> pulumi.Output[Any]:
        served: Served = service(wanted)
        return pulumi.Output.all(url=served.url, names=served.names).apply(made.outputs.update)

    with own_loop():
        answers = _Mocks(made)
        pulumi.runtime.set_mocks(answers, project="llmspec", stack="bot-prod", monitor=_Monitor(answers, made))
        program()
    return made
