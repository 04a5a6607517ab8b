"""lambda: the same container as a function, streamed through a REST API. Copies come and go with the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.alarms import rollback_alarms
from infra_pulumi.components.rest_api import Plan, RestApi, RestApiArgs
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement
from infra_pulumi.serving.duties import reading
from infra_pulumi.serving.lambda_rollout import Shift
from infra_pulumi.serving.lambda_signals import health, signals
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import PORT, USE, PlaceArgs, Release, Serving
from infra_pulumi.trust import trusted

LIVE, CANDIDATE = "live", "candidate"
ADAPTER = {"AWS_LWA_PORT": str(PORT), "AWS_LWA_INVOKE_MODE": "response_stream", "AWS_LWA_READINESS_CHECK_PATH": "/ping"}
"""The Lambda Web Adapter in the image turns events into HTTP requests, and streams what is answered."""


@dataclass(frozen=True)
class LambdaArgs(PlaceArgs):
    """`places: {endpoint: {lambda: …}}`."""

    memory_mb: int = 4096
    """128 to 10240; processors grow with it."""
    timeout_seconds: int = 120
    """Of one request, its stream included."""
    disk_mb: int = 2048
    """For the artifact, which is fetched when a copy starts."""
    architecture: str = "x86_64"
    in_network: bool = True
    """Whether copies stand in our network; the way to S3 is its door there."""
    plans: Mapping[str, Plan] = field(default_factory=lambda: {"user": Plan()})
    """Who may ask how much: each plan has a key of its own."""
    cors: Sequence[str] = ()
    """Origins whose pages may ask from a browser."""
    candidate: bool = False
    """A second stage that always serves the newest version, before a rollout has moved `live` to it."""
    access_log: bool = False
    """Who asked what, in the log group. API Gateway needs a role for that which is set once for the whole account."""

    @property
    def stands(self) -> bool:
        return self.in_network


def lambda_(wanted: Serving, place: LambdaArgs) -> Served:
    """Function, aliases, API; CodeDeploy where traffic moves in steps."""
    account = Account(wanted.owner.region)
    role = _role(wanted, place, account)
    function = _function(wanted, place, role)
    stepwise = wanted.rollout.strategy != "all_at_once"
    aliases = {LIVE: _alias(LIVE, function, moved_by_rollout=stepwise)}
    if place.candidate:
        aliases[CANDIDATE] = _alias(CANDIDATE, function)
    if wanted.scale.min:
        aws.lambda_.ProvisionedConcurrencyConfig(
            "warm",
            function_name=function.name,
            qualifier=aliases[LIVE].name,
            provisioned_concurrent_executions=wanted.scale.min,
        )
    api = RestApi("api", RestApiArgs(wanted, function, aliases, place.plans, place.cors, place.timeout_seconds, place.access_log))
    found = signals(wanted, function.name, api.name, LIVE)
    alarms = rollback_alarms(wanted, found) if stepwise else []
    shift = Shift("shift", wanted, alarms) if stepwise else None
    return Served(
        url=pulumi.Output.concat(api.stages[LIVE].invoke_url, "/v1"),
        names={
            "function": function.name,
            "version": function.version,
            "aliases": {name: alias.name for name, alias in aliases.items()},
            "api": api.api.id,
            "keys": {name: key.id for name, key in api.keys.items()},
            "deployment": shift.names if shift else {},
        },
        signals=found,
        health=health(api.name, LIVE),
        log_group=wanted.ground.log_group,
        rollback=alarms,
    )


def told(release: Release) -> dict[str, str]:
    """The function's environment."""
    return release.fetched(LLMSPEC_PLATFORM_GRANTS=USE, **ADAPTER)


def _function(wanted: Serving, place: LambdaArgs, role: Role) -> aws.lambda_.Function:
    """`max` is a wall: what comes above it is refused with 429, and costs nothing."""
    network = aws.lambda_.FunctionVpcConfigArgs(
        subnet_ids=list(wanted.ground.subnet_ids)[: wanted.scale.zones], security_group_ids=list(wanted.ground.security_group_ids)
    )
    return aws.lambda_.Function(
        "function",
        name=fitted(wanted.owner.prefix, 64),
        package_type="Image",
        image_uri=wanted.release.image,
        image_config=aws.lambda_.FunctionImageConfigArgs(commands=["serve"]),
        role=role.arn,
        architectures=[place.architecture],
        memory_size=place.memory_mb,
        timeout=place.timeout_seconds,
        ephemeral_storage=aws.lambda_.FunctionEphemeralStorageArgs(size=place.disk_mb),
        reserved_concurrent_executions=wanted.scale.max,
        environment=aws.lambda_.FunctionEnvironmentArgs(variables=told(wanted.release)),
        kms_key_arn=wanted.ground.key_arn,
        vpc_config=network if place.in_network else None,
        logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="Text", log_group=wanted.ground.log_group),
        publish=True,
        tags=wanted.tags(),
    )


def _alias(name: str, function: aws.lambda_.Function, moved_by_rollout: bool = False) -> aws.lambda_.Alias:
    """A rollout in steps moves the alias itself; here it is only made."""
    ignored = ["functionVersion", "routingConfig"] if moved_by_rollout else None
    return aws.lambda_.Alias(
        name,
        name=name,
        function_name=function.name,
        function_version=function.version,
        opts=pulumi.ResourceOptions(ignore_changes=ignored),
    )


def _role(wanted: Serving, place: LambdaArgs, account: Account) -> Role:
    group = pulumi.Output.concat(account.arn("logs", "log-group:"), wanted.ground.log_group, ":log-stream:*")
    cards = tuple(
        f"ec2:{verb}"
        for verb in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface")
    )
    network = (
        (Statement(cards, ("*",), reason="Lambda asks for network cards before they have a name"),) if place.in_network else ()
    )
    allows = (*reading(wanted, account), Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group,)), *network)
    args = RoleArgs("endpoint", allows=allows, trusts=(trusted("lambda"),), boundary=wanted.ground.boundary)
    return Role(wanted.owner, account, "function", args, pulumi.ResourceOptions())
