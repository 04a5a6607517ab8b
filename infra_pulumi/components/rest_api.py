"""A REST API before a function: who may ask, how much, from which pages, and stages that lead to the function's aliases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.preflight import preflight, refusals
from infra_pulumi.names import fitted
from infra_pulumi.serving.wanted import Serving

ACCESS = {
    key: f"$context.{value}"
    for key, value in {
        "id": "requestId",
        "ip": "identity.sourceIp",
        "caller": "identity.apiKeyId",
        "method": "httpMethod",
        "path": "path",
        "gateway_status": "status",
        "milliseconds": "responseLatency",
    }.items()
}
"""A line of the access log. Not `status` and `seconds`: those words are the journal's, and its metrics would count twice."""


@dataclass(frozen=True)
class Plan:
    """How much the holders of one key may ask."""

    requests_per_second: float = 10
    burst: int = 20
    requests_per_month: int = 0
    """0: no quota."""


@dataclass(frozen=True)
class RestApiArgs:
    """What it leads to, and whom it lets in."""

    wanted: Serving
    function: aws.lambda_.Function
    aliases: Mapping[str, aws.lambda_.Alias]
    """Stage -> alias."""
    plans: Mapping[str, Plan]
    cors: Sequence[str]
    timeout_seconds: int
    access_log: bool


class RestApi(pulumi.ComponentResource):
    """API, one method for every path, stages, plans, keys."""

    def __init__(self, name: str, args: RestApiArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:RestApi", name, None, opts)
        self._title, self._args, self._tags = name, args, args.wanted.tags()
        self._child = pulumi.ResourceOptions(parent=self)
        self.name = fitted(args.wanted.owner.prefix, 255)
        regional = aws.apigateway.RestApiEndpointConfigurationArgs(types="REGIONAL")
        self.api = aws.apigateway.RestApi(name, name=self.name, endpoint_configuration=regional, tags=self._tags, opts=self._child)
        path = aws.apigateway.Resource(
            name, rest_api=self.api.id, parent_id=self.api.root_resource_id, path_part="{proxy+}", opts=self._child
        )
        parts = self._method(path)
        if args.cors:
            parts += preflight(name, self.api, path, args.cors, self._child) + refusals(name, self.api, args.cors, self._child)
        deployment = self._deployment(parts)
        self.stages = {stage: self._stage(stage, alias, deployment) for stage, alias in args.aliases.items()}
        self.keys = {plan: self._plan(plan, limits) for plan, limits in args.plans.items()}
        self.register_outputs({"api": self.api.id})

    def _method(self, path: aws.apigateway.Resource) -> list[pulumi.Resource]:
        """Each request needs a key, so that a plan counts it, and, where there is a user pool, somebody who signed in."""
        authorizer = self._authorizer()
        method = aws.apigateway.Method(
            self._title,
            rest_api=self.api.id,
            resource_id=path.id,
            http_method="ANY",
            authorization="COGNITO_USER_POOLS" if authorizer else "NONE",
            authorizer_id=authorizer.id if authorizer else None,
            api_key_required=True,
            request_parameters={"method.request.path.proxy": True},
            opts=self._child,
        )
        integration = aws.apigateway.Integration(
            self._title,
            rest_api=self.api.id,
            resource_id=path.id,
            http_method=method.http_method,
            type="AWS_PROXY",
            integration_http_method="POST",
            uri=self._uri(),
            response_transfer_mode="STREAM",
            timeout_milliseconds=self._args.timeout_seconds * 1000,
            opts=self._child,
        )
        return [method, integration]

    def _uri(self) -> pulumi.Output[str]:
        """Which alias is the stage's to say; the path is the one that streams."""
        account = Account(self._args.wanted.owner.region)
        where = f"arn:{account.partition}:apigateway:{account.region}:lambda:path/2021-11-15/functions/"
        return pulumi.Output.concat(where, self._args.function.arn, ":${stageVariables.alias}/response-streaming-invocations")

    def _authorizer(self) -> aws.apigateway.Authorizer | None:
        pool = self._args.wanted.ground.user_pool_arn
        if pool is None:
            return None
        return aws.apigateway.Authorizer(
            self._title, name="users", rest_api=self.api.id, type="COGNITO_USER_POOLS", provider_arns=[pool], opts=self._child
        )

    def _deployment(self, parts: Sequence[pulumi.Resource]) -> aws.apigateway.Deployment:
        """A snapshot: taken again when anything that it holds is changed."""
        args = self._args
        content = [list(args.cors), args.timeout_seconds, args.wanted.ground.user_pool_arn is not None, sorted(args.aliases)]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return aws.apigateway.Deployment(
            self._title,
            rest_api=self.api.id,
            triggers={"content": digest},
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(parts)),
        )

    def _stage(self, stage: str, alias: aws.lambda_.Alias, deployment: aws.apigateway.Deployment) -> aws.apigateway.Stage:
        made = aws.apigateway.Stage(
            f"{self._title}-{stage}",
            rest_api=self.api.id,
            deployment=deployment.id,
            stage_name=stage,
            variables={"alias": alias.name},
            access_log_settings=self._access_log() if self._args.access_log else None,
            tags=self._tags,
            opts=self._child,
        )
        aws.apigateway.MethodSettings(
            f"{self._title}-{stage}",
            rest_api=self.api.id,
            stage_name=made.stage_name,
            method_path="*/*",
            settings=aws.apigateway.MethodSettingsSettingsArgs(metrics_enabled=True, logging_level="OFF", data_trace_enabled=False),
            opts=self._child,
        )
        aws.lambda_.Permission(
            f"{self._title}-{stage}",
            action="lambda:InvokeFunction",
            function=self._args.function.name,
            qualifier=alias.name,
            principal="apigateway.amazonaws.com",
            source_arn=pulumi.Output.concat(self.api.execution_arn, f"/{stage}/*/*"),
            opts=self._child,
        )
        return made

    def _access_log(self) -> aws.apigateway.StageAccessLogSettingsArgs:
        wanted = self._args.wanted
        group = pulumi.Output.concat(Account(wanted.owner.region).arn("logs", "log-group:"), wanted.ground.log_group)
        return aws.apigateway.StageAccessLogSettingsArgs(destination_arn=group, format=json.dumps(ACCESS))

    def _plan(self, plan: str, limits: Plan) -> aws.apigateway.ApiKey:
        """The key's value is AWS's to make: it is in no program, and nobody exports it."""
        name = f"{self._title}-{plan}"
        stages = [
            aws.apigateway.UsagePlanApiStageArgs(api_id=self.api.id, stage=stage.stage_name) for stage in self.stages.values()
        ]
        monthly = aws.apigateway.UsagePlanQuotaSettingsArgs(limit=limits.requests_per_month, period="MONTH")
        usage = aws.apigateway.UsagePlan(
            name,
            name=f"{self._args.wanted.owner.prefix}-{plan}",
            api_stages=stages,
            throttle_settings=aws.apigateway.UsagePlanThrottleSettingsArgs(
                rate_limit=limits.requests_per_second, burst_limit=limits.burst
            ),
            quota_settings=monthly if limits.requests_per_month else None,
            tags=self._tags,
            opts=self._child,
        )
        key = aws.apigateway.ApiKey(name, name=f"{self._args.wanted.owner.prefix}-{plan}", tags=self._tags, opts=self._child)
        aws.apigateway.UsagePlanKey(name, key_id=key.id, key_type="API_KEY", usage_plan_id=usage.id, opts=self._child)
        return key
