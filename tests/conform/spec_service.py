"""The service stack that a spec asks for, on a foundation that is written out but for its streams: `SPEC=specs/aws-full.yaml`."""

import json
import os
from dataclasses import replace
from typing import Any

import pulumi_aws as aws
from spec_ground import SECRETS, chosen, outputs, release

from infra_pulumi.service import service
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Serving
from llmspec.infra.asked import serving
from llmspec.secrets import REFERENCE
from llmspec.site import Site

TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "firehose.amazonaws.com"}}


def streams(names: dict[str, str]) -> dict[str, Any]:
    """CloudWatch sends a line of trial to a stream when it is told to hand lines on: it has to be there."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    role = aws.iam.Role("ground-streams", name="ground-streams", assume_role_policy=policy)
    into = {"role_arn": role.arn, "bucket_arn": aws.s3.Bucket("ground-streams", bucket="ground-streams", force_destroy=True).arn}
    return {
        name: aws.kinesis.FirehoseDeliveryStream(
            f"ground-{name}", name=arn.rsplit("/", 1)[-1], destination="extended_s3", extended_s3_configuration=into
        ).arn
        for name, arn in names.items()
    }


def on_known_machine(wanted: Serving) -> Serving:
    """`INSTANCE=ml.m5.xlarge`: an emulated SageMaker may not know the spec's machine, and refuse all that stands on it."""
    instance = os.environ.get("INSTANCE")
    if not instance or not isinstance(wanted.place, SagemakerArgs):
        return wanted
    return replace(wanted, place=replace(wanted.place, instance=instance))


loaded = chosen()
site = Site(loaded.spec, loaded.target, loaded.path)
ground = outputs(loaded)
ground |= {"streams": streams(ground.get("streams", {}))}
asked = serving(site, release(loaded), ground, resolve=lambda text: REFERENCE.sub(lambda it: SECRETS[it[1]], text))
service(on_known_machine(asked))
