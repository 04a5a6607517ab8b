"""Balancer: the one door to copies that stand in our network. TLS, health checks, and how traffic is shared out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.names import fitted
from infra_pulumi.serving.wanted import PORT, Serving

TLS = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.2 with forward secrecy, and 1.3."""
IDLE_SECONDS = 900
"""A stream may be silent while a long prompt is read."""
DRAIN_SECONDS = 120


@dataclass(frozen=True)
class BalancerArgs:
    """How it is reached, and what is behind it."""

    wanted: Serving
    certificate_arn: pulumi.Input[str]
    weights: Mapping[str, int]
    """Target group -> per cent. A group with 0 waits for a rollout."""
    public: bool = False
    open_to: Sequence[str] = ()
    """Address ranges that may ask."""
    shifted: bool = False
    """Whether somebody else, a rollout, moves the weights from here on."""


class Balancer(pulumi.ComponentResource):
    """Load balancer, listener, one rule, and a target group for each weight."""

    def __init__(self, name: str, args: BalancerArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Balancer", name, None, opts)
        self._name, self._args, self._tags = name, args, args.wanted.tags()
        self._child = pulumi.ResourceOptions(parent=self)
        self.door, self.copies = self._groups()
        self.balancer = self._balancer()
        self.targets = {side: self._target(side) for side in args.weights}
        self.listener = self._listener()
        self.rule = self._rule()
        self.register_outputs({"host": self.balancer.dns_name})

    def _groups(self) -> tuple[aws.ec2.SecurityGroup, aws.ec2.SecurityGroup]:
        """Who may ask the balancer, and that only the balancer may ask the copies."""
        ground = self._args.wanted.ground
        door, copies = (
            aws.ec2.SecurityGroup(
                f"{self._name}-{kind}", description=about, vpc_id=ground.vpc_id, tags=self._tags, opts=self._child
            )
            for kind, about in (("door", "The load balancer"), ("copies", "Copies behind the load balancer"))
        )
        for index, block in enumerate(self._args.open_to):
            self._may(f"{self._name}-asked-{index + 1}", door, 443, cidr_ipv4=block)
        self._may(f"{self._name}-served", copies, PORT, referenced_security_group_id=door.id)
        aws.vpc.SecurityGroupEgressRule(
            f"{self._name}-asks",
            security_group_id=door.id,
            referenced_security_group_id=copies.id,
            ip_protocol="tcp",
            from_port=PORT,
            to_port=PORT,
            description="To the copies, and nowhere else",
            tags=self._tags,
            opts=self._child,
        )
        return door, copies

    def _may(self, name: str, group: aws.ec2.SecurityGroup, port: int, **source: pulumi.Input[str]) -> None:
        aws.vpc.SecurityGroupIngressRule(
            name,
            security_group_id=group.id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description="Requests",
            tags=self._tags,
            opts=self._child,
            **source,
        )

    def _balancer(self) -> aws.lb.LoadBalancer:
        ground, public = self._args.wanted.ground, self._args.public
        subnets = list(ground.public_subnet_ids if public else ground.subnet_ids)
        return aws.lb.LoadBalancer(
            self._name,
            name=fitted(self._args.wanted.owner.prefix, 32),
            load_balancer_type="application",
            internal=not public,
            subnets=subnets,
            security_groups=[self.door.id],
            idle_timeout=IDLE_SECONDS,
            drop_invalid_header_fields=True,
            tags=self._tags,
            opts=self._child,
        )

    def _target(self, side: str) -> aws.lb.TargetGroup:
        return aws.lb.TargetGroup(
            f"{self._name}-{side}",
            name=fitted(f"{self._args.wanted.owner.prefix}-{side}", 32),
            port=PORT,
            protocol="HTTP",
            target_type="ip",
            vpc_id=self._args.wanted.ground.vpc_id,
            deregistration_delay=DRAIN_SECONDS,
            load_balancing_algorithm_type="least_outstanding_requests",
            health_check=aws.lb.TargetGroupHealthCheckArgs(
                path="/health", matcher="200", interval=15, timeout=5, healthy_threshold=2, unhealthy_threshold=3
            ),
            tags=self._tags,
            opts=self._child,
        )

    def _listener(self) -> aws.lb.Listener:
        """What no rule takes is refused: traffic goes by the rule, which a rollout may change."""
        refused = aws.lb.ListenerDefaultActionFixedResponseArgs(
            content_type="application/json", status_code="404", message_body='{"error": {"message": "nothing is served here"}}'
        )
        return aws.lb.Listener(
            self._name,
            load_balancer_arn=self.balancer.arn,
            port=443,
            protocol="HTTPS",
            ssl_policy=TLS,
            certificate_arn=self._args.certificate_arn,
            default_actions=[aws.lb.ListenerDefaultActionArgs(type="fixed-response", fixed_response=refused)],
            tags=self._tags,
            opts=self._child,
        )

    def _rule(self) -> aws.lb.ListenerRule:
        groups = [
            aws.lb.ListenerRuleActionForwardTargetGroupArgs(arn=self.targets[side].arn, weight=weight)
            for side, weight in self._args.weights.items()
        ]
        action = (
            aws.lb.ListenerRuleActionArgs(type="forward", forward=aws.lb.ListenerRuleActionForwardArgs(target_groups=groups))
            if len(groups) > 1
            else aws.lb.ListenerRuleActionArgs(type="forward", target_group_arn=next(iter(self.targets.values())).arn)
        )
        everything = aws.lb.ListenerRuleConditionArgs(path_pattern=aws.lb.ListenerRuleConditionPathPatternArgs(values=["/*"]))
        return aws.lb.ListenerRule(
            self._name,
            listener_arn=self.listener.arn,
            priority=1,
            conditions=[everything],
            actions=[action],
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["actions"] if self._args.shifted else None),
        )
