"""Failover: a health check that follows an alarm and, with a second region, the record that is asked while the check fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.serving.wanted import SecondRegion, Serving

_REGION = r"[a-z]{2}(?:-[a-z]+)+-[0-9]+"
_BALANCER = re.compile(
    rf"(?:[a-z0-9-]+\.)+(?:(?P<application>{_REGION})\.elb|elb\.(?P<network>{_REGION}))\.amazonaws\.com(?:\.cn)?"
)
Point = Callable[[pulumi.Input[str] | None], aws.route53.Record | None]
"""Makes the record that leads to this region, and has it follow a health check; None where no record can."""


@dataclass(frozen=True)
class FailoverArgs:
    """What the check follows, and what makes the first record."""

    wanted: Serving
    alarm: pulumi.Input[str]
    """The name of a plain alarm: Route 53 follows no arithmetic."""
    point: Point | None
    """None where no record can point at the service."""


class Failover(pulumi.ComponentResource):
    """PRIMARY here, SECONDARY there; without a second region only the check."""

    def __init__(self, name: str, args: FailoverArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Failover", name, None, opts)
        self._args, second = args, args.wanted.monitors.second_region
        self.check = aws.route53.HealthCheck(
            name,
            type="CLOUDWATCH_METRIC",
            cloudwatch_alarm_name=args.alarm,
            cloudwatch_alarm_region=args.wanted.owner.region,
            insufficient_data_health_status="LastKnownStatus",
            tags={**args.wanted.tags("monitors"), "Name": name},
            opts=pulumi.ResourceOptions(parent=self),
        )
        primary = args.point(self.check.id if second else None) if args.point else None
        if second and primary is not None:
            self._secondary(second, primary)
        self.register_outputs({"check": self.check.id})

    def _secondary(self, second: SecondRegion, primary: aws.route53.Record) -> None:
        """After the first, which an earlier llmspec made without a role: Route 53 takes no record with one beside that."""
        name = f"{self._args.wanted.owner.prefix}-secondary"
        found = balancer(second.host)
        assert found, "ecs_limits refuses other hosts"
        kind, region = found
        zone = aws.lb.get_hosted_zone_id_output(load_balancer_type=kind, region=region)
        aws.route53.Record(
            name,
            zone_id=second.zone_id,
            name=second.domain,
            type="A",
            aliases=[aws.route53.RecordAliasArgs(name=second.host, zone_id=zone.id, evaluate_target_health=True)],
            set_identifier=name,
            failover_routing_policies=[aws.route53.RecordFailoverRoutingPolicyArgs(type="SECONDARY")],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[primary]),
        )


def balancer(host: str) -> tuple[str, str] | None:
    """The kind and the region of a load balancer, as AWS names it; None for another host."""
    found = _BALANCER.fullmatch(host)
    return next((kind, region) for kind, region in found.groupdict().items() if region) if found else None
