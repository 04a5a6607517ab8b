"""Monitoring, for every serving place alike: topic, alarms, metric filters, dashboard, health check, failover."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.alarms import alarm_name, health_alarm, ring
from infra_pulumi.components.dashboard import board
from infra_pulumi.components.delivery import Delivery
from infra_pulumi.components.failover import Failover, FailoverArgs
from infra_pulumi.components.journal_metrics import JournalMetrics
from infra_pulumi.components.webhook import Webhook, WebhookArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement, document
from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import Serving


@dataclass(frozen=True)
class MonitoringArgs:
    """What was asked for, and what runs."""

    wanted: Serving
    served: Served


class Monitoring(pulumi.ComponentResource):
    """Everything that watches one service."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Monitoring", name, None, opts)
        wanted, served = args.wanted, args.served
        self._wanted, self._child = wanted, pulumi.ResourceOptions(parent=self)
        self.topic = self._topic(name)
        self._subscribe(name)
        JournalMetrics(f"{name}-journal", wanted, served, self._child)
        Delivery(f"{name}-delivery", wanted, served, self._child)
        self.alarms = [
            ring(
                alarm_name(wanted, str(index), alarm.metric),
                alarm,
                served.signals[alarm.metric],
                wanted.tags("monitors"),
                [self.topic.arn],
                self._child,
            )
            for index, alarm in enumerate(wanted.monitors.alarms, 1)
        ]
        unhealthy = health_alarm(wanted, served.health, [self.topic.arn], self._child)
        self.failover = Failover(f"{name}-failover", FailoverArgs(wanted, unhealthy.name, served.point), self._child)
        if wanted.monitors.dashboard:
            aws.cloudwatch.Dashboard(
                name, dashboard_name=wanted.owner.prefix, dashboard_body=board(wanted, served), opts=self._child
            )
        self.register_outputs({"topic": self.topic.arn, "check": self.failover.check.id})

    def _topic(self, name: str) -> aws.sns.Topic:
        """Alarms may write to it; nobody else, and nobody without TLS."""
        topic = aws.sns.Topic(
            name,
            name=fitted(f"{self._wanted.owner.prefix}-alarms", 256),
            kms_master_key_id=self._wanted.ground.log_key_arn,
            tags=self._wanted.tags("monitors"),
            opts=self._child,
        )
        account = Account(self._wanted.owner.region)
        policy = document(
            Statement(
                ("sns:Publish",), (topic.arn,), principals={"Service": "cloudwatch.amazonaws.com"}, conditions=account.here()
            ),
            Statement(
                ("sns:Publish",),
                (topic.arn,),
                effect="Deny",
                principals={"AWS": "*"},
                conditions={"Bool": {"aws:SecureTransport": "false"}},
                reason="Nobody at all without TLS",
            ),
        )
        aws.sns.TopicPolicy(name, arn=topic.arn, policy=policy, opts=self._child)
        return topic

    def _subscribe(self, name: str) -> None:
        notify = self._wanted.monitors.notify
        if notify.email:
            aws.sns.TopicSubscription(
                f"{name}-email", topic=self.topic.arn, protocol="email", endpoint=notify.email, opts=self._child
            )
        if notify.webhook:
            Webhook(f"{name}-webhook", WebhookArgs(self._wanted, self.topic.arn, notify.webhook), self._child)
