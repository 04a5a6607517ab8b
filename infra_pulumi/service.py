"""The service stack, made for each release: one serving place, and what watches it. Find any resource from here:

sagemaker   serving/sagemaker.py    model, endpoint configuration, endpoint; guardrails.py, scaling.py
ecs         serving/ecs.py          load balancer, cluster, capacity, services
lambda      serving/lambda_.py      function, alias, REST API
eks         serving/eks.py          cluster, nodes, pod identity; manifests.py
monitoring  components/monitoring.py  topic, alarms, metric filters, dashboard, health check, failover
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pulumi

from infra_pulumi.components.monitoring import Monitoring, MonitoringArgs
from infra_pulumi.serving import ecs_limits, eks_limits, lambda_limits, limits, sagemaker_limits
from infra_pulumi.serving.ecs import EcsArgs, ecs
from infra_pulumi.serving.eks import EksArgs, eks
from infra_pulumi.serving.lambda_ import LambdaArgs, lambda_
from infra_pulumi.serving.sagemaker import SagemakerArgs, sagemaker
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import Serving
from llmspec.errors import Problem, SpecError


@dataclass(frozen=True)
class Program:
    """One serving place."""

    serve: Callable[[Serving, Any], Served]
    faults: Callable[[Serving, Any], Iterable[Problem]]
    doors: tuple[str, ...] = ()
    """Services that it asks from inside the network: without NAT the foundation needs an endpoint for each."""


PROGRAMS: dict[type, Program] = {
    SagemakerArgs: Program(sagemaker, sagemaker_limits.faults),
    EcsArgs: Program(ecs, ecs_limits.faults, ("ecs", "ecs-agent", "ecs-telemetry", "secretsmanager")),
    LambdaArgs: Program(lambda_, lambda_limits.faults),
    EksArgs: Program(eks, eks_limits.faults, ("ec2", "eks", "eks-auth", "sts", "elasticloadbalancing", "monitoring")),
}


def faults(wanted: Serving) -> list[Problem]:
    """What the place would refuse, before anything is made."""
    return [*limits.common(wanted), *PROGRAMS[type(wanted.place)].faults(wanted, wanted.place)]


def service(wanted: Serving) -> Served:
    """The whole stack. What it exports is what llmspec reads back and prints."""
    if found := faults(wanted):
        raise SpecError(*found)
    served = PROGRAMS[type(wanted.place)].serve(wanted, wanted.place)
    monitoring = Monitoring("monitoring", MonitoringArgs(wanted, served))
    pulumi.export("url", served.url)
    pulumi.export("names", {**served.names, "topic": monitoring.topic.arn, "log_group": served.log_group})
    return served
