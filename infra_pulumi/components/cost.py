"""cost: a word before the month's money is spent, and one when a day is unlike the others."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.keys import Keys
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document


@dataclass(frozen=True)
class CostArgs:
    """`governance.budget: {monthly: 500 USD, warn_at: 0.8}`."""

    monthly_usd: int
    warn_at: float = 0.8
    notify: tuple[str, ...] = ()
    """E-mail addresses. Each has to confirm once."""
    unusual_usd: int = 20
    """From so much more than usual in a day, it is told."""
    activate_tags: bool = False
    """AWS counts by our tags once they are activated: by the account that pays, and a day after it saw them first."""

    def __post_init__(self) -> None:
        if not 0 < self.warn_at <= 1 or self.monthly_usd < 1:
            raise ValueError("cost: monthly_usd is 1 or more, and warn_at a part of it: above 0, at most 1")


class Cost(pulumi.ComponentResource):
    """Counts what carries this product's tag."""

    def __init__(
        self, owner: Owner, account: Account, args: CostArgs, keys: Keys, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llmspec:aws:Cost", "cost", None, opts)
        self._owner, self._args = owner, args
        self._opts = pulumi.ResourceOptions(parent=self)
        self.topic = self._topic(account, keys)
        self._budget()
        self._anomalies()
        if args.activate_tags:
            for key in owner.tagged("cost"):
                aws.costexplorer.CostAllocationTag(f"tag-{key}", tag_key=key, status="Active", opts=self._opts)
        self.register_outputs({"topic": self.topic.arn})

    def _topic(self, account: Account, keys: Keys) -> aws.sns.Topic:
        name = f"{self._owner.prefix}-cost"
        topic = aws.sns.Topic("cost", name=name, kms_master_key_id=keys.logs.id, tags=self._owner.tagged("cost"), opts=self._opts)
        senders = {"Service": ["budgets.amazonaws.com", "costalerts.amazonaws.com"]}
        policy = document(Statement(("sns:Publish",), (account.arn("sns", name),), account.here(), senders))
        aws.sns.TopicPolicy("cost", arn=topic.arn, policy=policy, opts=self._opts)
        for number, address in enumerate(self._args.notify, start=1):
            aws.sns.TopicSubscription(f"cost-{number}", topic=topic.arn, protocol="email", endpoint=address, opts=self._opts)
        return topic

    def _budget(self) -> None:
        warnings = [("ACTUAL", self._args.warn_at), ("ACTUAL", 1.0), ("FORECASTED", 1.0)]
        aws.budgets.Budget(
            "month",
            name=self._owner.prefix,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{self._args.monthly_usd:.1f}",
            limit_unit="USD",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:llmspec:name${self._owner.name}"]}],
            notifications=[
                {
                    "notification_type": kind,
                    "threshold": round(part * 100, 1),
                    "threshold_type": "PERCENTAGE",
                    "comparison_operator": "GREATER_THAN",
                    "subscriber_sns_topic_arns": [self.topic.arn],
                }
                for kind, part in dict.fromkeys(warnings)
            ],
            tags=self._owner.tagged("cost"),
            opts=self._opts,
        )

    def _anomalies(self) -> None:
        # To the letter what AWS's provider reads back: the letters are what it compares, and another text is another monitor. The
        # provider of pulumi-aws 7.51 knows these five; one that was made after 2026-10-13 knows ProductAttributes, too.
        unused = dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or"))
        ours = {**unused, "Tags": {"Key": "llmspec:name", "MatchOptions": None, "Values": [self._owner.name]}}
        monitor = aws.costexplorer.AnomalyMonitor(
            "unusual",
            name=self._owner.prefix,
            monitor_type="CUSTOM",
            monitor_specification=pulumi.Output.json_dumps(ours),
            tags=self._owner.tagged("cost"),
            opts=self._opts,
        )
        impact: aws.costexplorer.AnomalySubscriptionThresholdExpressionDimensionArgsDict = {
            "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
            "values": [str(self._args.unusual_usd)],
            "match_options": ["GREATER_THAN_OR_EQUAL"],
        }
        aws.costexplorer.AnomalySubscription(
            "unusual",
            name=self._owner.prefix,
            frequency="IMMEDIATE",
            monitor_arn_lists=[monitor.arn],
            subscribers=[{"type": "SNS", "address": self.topic.arn}],
            threshold_expression={"dimension": impact},
            tags=self._owner.tagged("cost"),
            opts=self._opts,
        )
