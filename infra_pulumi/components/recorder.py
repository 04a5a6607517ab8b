"""AWS Config: how resources are set up, recorded, and measured against rules."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.bucket import Bucket
from infra_pulumi.components.keys import Keys
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

RECORDED = (
    "AWS::S3::Bucket",
    "AWS::KMS::Key",
    "AWS::IAM::Role",
    "AWS::IAM::Policy",
    "AWS::ECR::Repository",
    "AWS::EC2::VPC",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::FlowLog",
    "AWS::CloudTrail::Trail",
    "AWS::SageMaker::Model",
    "AWS::Lambda::Function",
    "AWS::ECS::Service",
)
"""What we make. Config is paid by the recorded change, and an account has other things that change all day."""

RULES = {
    "no-public-read": "S3_BUCKET_PUBLIC_READ_PROHIBITED",
    "no-public-write": "S3_BUCKET_PUBLIC_WRITE_PROHIBITED",
    "tls-only": "S3_BUCKET_SSL_REQUESTS_ONLY",
    "versioned": "S3_BUCKET_VERSIONING_ENABLED",
    "encrypted": "S3_BUCKET_SERVER_SIDE_ENCRYPTION_ENABLED",
    "keys-rotate": "CMK_BACKING_KEY_ROTATION_ENABLED",
    "images-scanned": "ECR_PRIVATE_IMAGE_SCANNING_ENABLED",
    "tags-immutable": "ECR_PRIVATE_TAG_IMMUTABILITY_ENABLED",
    "trail-on": "CLOUD_TRAIL_ENABLED",
    "trail-validated": "CLOUD_TRAIL_LOG_FILE_VALIDATION_ENABLED",
    "no-admin-policies": "IAM_POLICY_NO_STATEMENTS_WITH_ADMIN_ACCESS",
    "flow-logs-on": "VPC_FLOW_LOGS_ENABLED",
    "default-group-closed": "VPC_DEFAULT_SECURITY_GROUP_CLOSED",
    "endpoints-encrypted": "SAGEMAKER_ENDPOINT_CONFIGURATION_KMS_KEY_CONFIGURED",
}
"""Our name -> AWS's managed rule."""
KEYED = "endpoints-encrypted"
"""SageMaker takes no key for machines with NVMe disks, which encrypt by themselves: there this rule would never be kept."""


class Recorder(pulumi.ComponentResource):
    """Records what we make and no more."""

    def __init__(
        self,
        owner: Owner,
        account: Account,
        bucket: Bucket,
        keys: Keys,
        rules: Mapping[str, str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__("llmspec:aws:Recorder", "recorder", None, opts)
        # An account records once, for all that is in it: a product that goes does not switch the others' eyes off.
        mine = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        role = _role(owner, account, bucket, keys, mine)
        recorder = aws.cfg.Recorder(
            "recorder",
            name=owner.prefix,
            role_arn=role.arn,
            recording_group={
                "all_supported": False,
                "resource_types": list(RECORDED),
                "recording_strategies": [{"use_only": "INCLUSION_BY_RESOURCE_TYPES"}],
            },
            opts=mine,
        )
        channel = aws.cfg.DeliveryChannel(
            "recorder",
            name=owner.prefix,
            s3_bucket_name=bucket.name,
            s3_key_prefix="config",
            s3_kms_key_arn=keys.logs.arn,
            opts=_after(mine, recorder, bucket.policy),
        )
        # A recorder starts once it knows where to, and rules measure once it runs.
        begun = aws.cfg.RecorderStatus("recorder", name=recorder.name, is_enabled=True, opts=_after(mine, channel))
        for name, rule in rules.items():
            aws.cfg.Rule(
                f"rule-{name}",
                name=f"{owner.prefix}-{name}",
                source={"owner": "AWS", "source_identifier": rule},
                tags=owner.tagged("audit"),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[begun]),
            )
        self.register_outputs({"recorder": recorder.name})


def _after(opts: pulumi.ResourceOptions, *first: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(first)))


def _role(owner: Owner, account: Account, bucket: Bucket, keys: Keys, opts: pulumi.ResourceOptions) -> Role:
    folder = pulumi.Output.concat(account.bucket(bucket.called), "/config/AWSLogs/", account.id, "/*")
    allows = (
        Statement(("s3:PutObject",), (folder,), {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}),
        Statement(("s3:GetBucketAcl",), (account.bucket(bucket.called),)),
        Statement(("kms:Decrypt", "kms:GenerateDataKey"), (keys.logs.arn,)),
    )
    wanted = RoleArgs("audit", ("config",), allows, managed=(account.managed("service-role/AWS_ConfigRole"),), keep=True)
    return Role(owner, account, "config", wanted, opts)
