"""Delivery: a container prints its journal, CloudWatch hands each line on, and the foundation's streams write it into the store."""

import pulumi
import pulumi_aws as aws

from infra_pulumi.serving.served import Served
from infra_pulumi.serving.wanted import Serving

LINES = {"journal": "NOT EXISTS", "engagement": '= "*"'}
"""Stream -> what is true of `feedback` in its lines: requests on one side, what users said of the answers on the other."""


class Delivery(pulumi.ComponentResource):
    """One filter for each stream; a log group takes two."""

    def __init__(self, name: str, wanted: Serving, served: Served, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Delivery", name, None, opts)
        for stream, arn in wanted.ground.streams.items():
            at = served.journal
            aws.cloudwatch.LogSubscriptionFilter(
                f"{name}-{stream}",
                name=f"{wanted.owner.prefix}-{stream}",
                log_group=served.log_group,
                filter_pattern=f'{{ ({at}.line = "journal") && ({at}.feedback {LINES[stream]}) }}',
                destination_arn=arn,
                role_arn=wanted.ground.carrier_role_arn,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({"streams": list(wanted.ground.streams)})
