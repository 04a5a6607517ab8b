"""Failover: a health check that follows an alarm and, with a second region, the pair of records that follows the check."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.serving.wanted import SecondRegion, Serving


@dataclass(frozen=True)
class FailoverArgs:
    """What the check follows, and whose address the first record is."""

    wanted: Serving
    alarm: pulumi.Input[str]
    """The name of a plain alarm: Route 53 follows no arithmetic."""
    host: pulumi.Input[str] | None
    """Of the service in this region; None where no record can point at it."""


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
        if second and args.host is not None:
            self._record("PRIMARY", second, args.host, self.check.id)
            self._record("SECONDARY", second, second.host)
        self.register_outputs({"check": self.check.id})

    def _record(self, role: str, second: SecondRegion, host: pulumi.Input[str], check: pulumi.Input[str] | None = None) -> None:
        name = f"{self._args.wanted.owner.prefix}-{role.lower()}"
        aws.route53.Record(
            name,
            zone_id=second.zone_id,
            name=second.domain,
            type="CNAME",
            ttl=60,
            records=[host],
            set_identifier=name,
            health_check_id=check,
            failover_routing_policies=[aws.route53.RecordFailoverRoutingPolicyArgs(type=role)],
            opts=pulumi.ResourceOptions(parent=self),
        )
