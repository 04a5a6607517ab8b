"""CORS before a function: the browser's question whether a page may ask is answered by the API itself, without a copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

HEADERS = "authorization,content-type,x-api-key"
METHODS = "GET,POST,OPTIONS"


def preflight(
    name: str, api: aws.apigateway.RestApi, path: aws.apigateway.Resource, origins: Sequence[str], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """OPTIONS, open to everybody: a browser sends no key with it."""
    title = f"{name}-preflight"
    method = aws.apigateway.Method(
        title, rest_api=api.id, resource_id=path.id, http_method="OPTIONS", authorization="NONE", opts=opts
    )
    at: dict[str, Any] = {"rest_api": api.id, "resource_id": path.id, "http_method": method.http_method}
    integration = aws.apigateway.Integration(
        title, type="MOCK", request_templates={"application/json": json.dumps({"statusCode": 204})}, opts=opts, **at
    )
    headers = ("Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Vary")
    said = aws.apigateway.MethodResponse(
        title,
        status_code="204",
        response_parameters={f"method.response.header.{header}": False for header in (*headers, "Access-Control-Allow-Origin")},
        opts=opts,
        **at,
    )
    values = dict(zip(headers, (HEADERS, METHODS, "Origin"), strict=True))
    answer = aws.apigateway.IntegrationResponse(
        title,
        status_code=said.status_code,
        response_parameters={f"method.response.header.{header}": f"'{value}'" for header, value in values.items()},
        response_templates={"application/json": named_origin(origins)},
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[integration])),
        **at,
    )
    return [method, integration, said, answer]


def named_origin(origins: Sequence[str]) -> str:
    """A header names one origin: the one that asks, when it is on the list, else none. Browsers spell theirs either way."""
    known = " || ".join(f'$origin == "{origin}"' for origin in origins)
    return (
        '#set($origin = $input.params("origin"))#if($origin == "")#set($origin = $input.params("Origin"))#end'
        f"#if({known})#set($context.responseOverride.header.Access-Control-Allow-Origin = $origin)#end"
    )


def refusals(name: str, api: aws.apigateway.RestApi, origins: Sequence[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """What the API refuses itself (no key, too many) a page can read too, if one origin is named: a refusal chooses none."""
    if len(origins) != 1:
        return []
    return [
        aws.apigateway.Response(
            f"{name}-{kind.lower().replace('_', '-')}",
            rest_api_id=api.id,
            response_type=kind,
            response_parameters={"gatewayresponse.header.Access-Control-Allow-Origin": f"'{origins[0]}'"},
            opts=opts,
        )
        for kind in ("DEFAULT_4XX", "DEFAULT_5XX")
    ]
