"""events: what endpoints were asked and what users said of it, on its way from their logs into the store."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.logs import Logs
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.components.storage import Storage
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

STREAMS = ("journal", "engagement")
CARRIER = "carrier"
"""The role with which CloudWatch hands lines to the streams: whoever makes the filters of a log passes it."""
UNWRAPPED: list[aws.kinesis.FirehoseDeliveryStreamExtendedS3ConfigurationProcessingConfigurationProcessorArgsDict] = [
    {"type": "Decompression", "parameters": [{"parameter_name": "CompressionFormat", "parameter_value": "GZIP"}]},
    {"type": "CloudWatchLogProcessing", "parameters": [{"parameter_name": "DataMessageExtraction", "parameter_value": "true"}]},
]
"""CloudWatch sends lines packed, in an envelope: what is stored are the lines as the container printed them."""


def stream_names(owner: Owner) -> dict[str, str]:
    """`journal` -> `support-bot-prod-journal`."""
    return {stream: f"{owner.prefix}-{stream}" for stream in STREAMS}


@dataclass(frozen=True)
class EventsArgs:
    """How long events wait for company."""

    wait_seconds: int = 300
    """At most so long until an event is in the store."""
    wait_mb: int = 64
    """Or until so much has come together."""


class Events(pulumi.ComponentResource):
    """One stream each, written by day: `<product>/journal/day=2026-11-25/…`, JSON lines, compressed."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        args: EventsArgs,
        keys: Keys,
        logs: Logs,
        storage: Storage,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("llmspec:aws:Events", "events", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self._keys, self._logs, self._storage = keys, logs, storage
        self._opts = pulumi.ResourceOptions(parent=self)
        self._role = self._writer()
        self.streams = {stream: self._stream(stream, name) for stream, name in stream_names(owner).items()}
        self.carrier = self._carrier()
        self.register_outputs({stream: made.arn for stream, made in self.streams.items()})

    def _writer(self) -> Role:
        bucket, product = self._storage.bucket, self._storage.product
        folders = tuple(self._account.bucket(f"{bucket}/{product}{folder}/*") for folder in (*STREAMS, "undelivered"))
        group = self._account.arn("logs", f"log-group:/llmspec/{self._owner.prefix}/events:*")
        allows = (
            Statement(("s3:PutObject", "s3:AbortMultipartUpload"), folders),
            Statement(("s3:GetBucketLocation", "s3:ListBucketMultipartUploads"), (self._account.bucket(bucket),)),
            Statement(("kms:Decrypt", "kms:GenerateDataKey"), (self._keys.data.arn,)),
            Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group,)),
        )
        return Role(self._owner, self._account, "events", RoleArgs("events", ("firehose",), allows), self._opts)

    def _carrier(self) -> Role:
        """CloudWatch hands lines of the endpoint's log on, to these streams only."""
        into = tuple(self._account.arn("firehose", f"deliverystream/{name}") for name in stream_names(self._owner).values())
        allows = (Statement(("firehose:PutRecord", "firehose:PutRecordBatch"), into),)
        return Role(self._owner, self._account, CARRIER, RoleArgs("events", ("logs",), allows), self._opts)

    def _stream(self, stream: str, name: str) -> aws.kinesis.FirehoseDeliveryStream:
        return aws.kinesis.FirehoseDeliveryStream(
            f"stream-{stream}",
            name=name,
            destination="extended_s3",
            server_side_encryption={"enabled": True, "key_type": "CUSTOMER_MANAGED_CMK", "key_arn": self._keys.data.arn},
            extended_s3_configuration={
                "role_arn": self._role.arn,
                "bucket_arn": self._storage.store.arn,
                "prefix": f"{self._storage.product}{stream}/day=!{{timestamp:yyyy-MM-dd}}/",
                "error_output_prefix": f"{self._storage.product}undelivered/{stream}/!{{firehose:error-output-type}}/",
                "compression_format": "GZIP",
                "file_extension": ".jsonl.gz",
                "buffering_interval": self._args.wait_seconds,
                "buffering_size": self._args.wait_mb,
                "kms_key_arn": self._keys.data.arn,
                "processing_configuration": {"enabled": True, "processors": UNWRAPPED},
                "cloudwatch_logging_options": {
                    "enabled": True,
                    "log_group_name": self._logs.groups["events"].name,
                    "log_stream_name": stream,
                },
            },
            tags=self._owner.tagged("events"),
            opts=self._opts,
        )
