"""The cluster's door: Auto Mode makes a load balancer from an Ingress and the class that says how it is to stand."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra_pulumi.components.balancer import IDLE_SECONDS, TLS
from infra_pulumi.serving.wanted import Serving


def ingress(
    wanted: Serving,
    namespace: str,
    domain: str,
    public: bool,
    open_to: Sequence[str],
    subnets: Sequence[str],
    certificate: str,
) -> list[dict[str, Any]]:
    """Parameters, class, Ingress. Variants share the traffic by their weights."""
    sides = {side: variant.weight for side, variant in wanted.sides().items()}
    params = {
        "scheme": "internet-facing" if public else "internal",
        "subnets": {"ids": list(subnets)},
        "certificateARNs": [certificate],
        "sslPolicy": TLS,
        "inboundCIDRs": list(open_to),
        "loadBalancerAttributes": [
            {"key": "idle_timeout.timeout_seconds", "value": str(IDLE_SECONDS)},
            {"key": "routing.http.drop_invalid_header_fields.enabled", "value": "true"},
        ],
        "tags": [{"key": key, "value": value} for key, value in sorted(wanted.tags().items())],
    }
    of_params = {"apiGroup": "eks.amazonaws.com", "kind": "IngressClassParams", "name": namespace}
    return [
        _named("eks.amazonaws.com/v1", "IngressClassParams", {"name": namespace}, params),
        _named(
            "networking.k8s.io/v1",
            "IngressClass",
            {"name": namespace},
            {"controller": "eks.amazonaws.com/alb", "parameters": of_params},
        ),
        _ingress(namespace, domain, sides),
    ]


def _ingress(namespace: str, domain: str, sides: Mapping[str, int]) -> dict[str, Any]:
    annotations = {
        "alb.ingress.kubernetes.io/target-type": "ip",
        "alb.ingress.kubernetes.io/listen-ports": '[{"HTTPS": 443}]',
        "alb.ingress.kubernetes.io/healthcheck-path": "/health",
        "alb.ingress.kubernetes.io/target-group-attributes": "load_balancing.algorithm.type=least_outstanding_requests",
    }
    backend: dict[str, Any] = {"name": next(iter(sides)), "port": {"name": "http"}}
    if len(sides) > 1:
        groups = [{"serviceName": side, "servicePort": "http", "weight": weight} for side, weight in sides.items()]
        shared = {"type": "forward", "forwardConfig": {"targetGroups": groups}}
        annotations["alb.ingress.kubernetes.io/actions.shared"] = json.dumps(shared)
        backend = {"name": "shared", "port": {"name": "use-annotation"}}
    rule = {"host": domain, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": backend}}]}}
    where = {"name": "endpoint", "namespace": namespace, "annotations": annotations}
    return _named("networking.k8s.io/v1", "Ingress", where, {"ingressClassName": namespace, "rules": [rule]})


def _named(version: str, kind: str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": dict(metadata), "spec": dict(spec)}
