"""Doors from a private network to AWS's services: S3 by route, the others by an address in each zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement, document

PREFIXES = {"bedrock-runtime": "bedrock", "monitoring": "cloudwatch"}
"""Where a service is called otherwise in a policy than at its door. A policy that names nothing real forbids everything."""
UNWATCHED = ("ecs-agent", "ecs-telemetry")
"""What ECS's agent speaks through them is a session of ECS's own, for which AWS names neither actions nor an account."""


@dataclass(frozen=True)
class DoorsArgs:
    """Which doors, and who goes through them."""

    vpc: pulumi.Input[str]
    subnets: Sequence[pulumi.Input[str]]
    tables: Sequence[pulumi.Input[str]]
    work: pulumi.Output[str]
    """The security group of those who go through."""
    services: tuple[str, ...]


class Doors(pulumi.ComponentResource):
    """What goes in and out is HTTPS, from `work` to these services, and on behalf of this account."""

    def __init__(self, owner: Owner, account: Account, args: DoorsArgs, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:Doors", "doors", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self._opts = pulumi.ResourceOptions(parent=self)
        self._tags = owner.tagged("network")
        self.s3 = self._route_to_s3()
        self.group = self._group()
        self.services = {service: self._door(service) for service in args.services}
        self.register_outputs({"s3": self.s3.id, "services": {name: door.id for name, door in self.services.items()}})

    def _route_to_s3(self) -> aws.ec2.VpcEndpoint:
        door = aws.ec2.VpcEndpoint(
            "door-s3",
            vpc_id=self._args.vpc,
            service_name=f"com.amazonaws.{self._owner.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=list(self._args.tables),
            policy=document(_for_this_account("s3", self._account), *_image_layers(self._account)),
            tags={**self._tags, "Name": f"{self._owner.prefix}-s3"},
            opts=self._opts,
        )
        self._way_out("s3", "S3", prefix_list_id=door.prefix_list_id)
        return door

    def _group(self) -> aws.ec2.SecurityGroup:
        group = aws.ec2.SecurityGroup(
            "doors",
            name=f"{self._owner.prefix}-doors",
            description="AWS services, for jobs and endpoints",
            vpc_id=self._args.vpc,
            tags={**self._tags, "Name": f"{self._owner.prefix}-doors"},
            opts=self._opts,
        )
        aws.vpc.SecurityGroupIngressRule(
            "doors-from-work",
            security_group_id=group.id,
            referenced_security_group_id=self._args.work,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="Jobs and endpoints",
            tags=self._tags,
            opts=self._opts,
        )
        self._way_out("doors", "AWS services", referenced_security_group_id=group.id)
        return group

    def _door(self, service: str) -> aws.ec2.VpcEndpoint:
        return aws.ec2.VpcEndpoint(
            f"door-{service}",
            vpc_id=self._args.vpc,
            service_name=f"com.amazonaws.{self._owner.region}.{service}",
            vpc_endpoint_type="Interface",
            subnet_ids=list(self._args.subnets),
            security_group_ids=[self.group.id],
            private_dns_enabled=True,
            policy=None if service in UNWATCHED else document(_for_this_account(prefix(service), self._account)),
            tags={**self._tags, "Name": f"{self._owner.prefix}-{service}"},
            opts=self._opts,
        )

    def _way_out(
        self,
        name: str,
        to: str,
        prefix_list_id: pulumi.Input[str] | None = None,
        referenced_security_group_id: pulumi.Input[str] | None = None,
    ) -> None:
        aws.vpc.SecurityGroupEgressRule(
            f"work-to-{name}",
            security_group_id=self._args.work,
            prefix_list_id=prefix_list_id,
            referenced_security_group_id=referenced_security_group_id,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description=to,
            tags=self._tags,
            opts=self._opts,
        )


def prefix(service: str) -> str:
    """What its actions begin with: `sagemaker.runtime` -> `sagemaker`."""
    return PREFIXES.get(service, service.partition(".")[0])


def _for_this_account(service: str, account: Account) -> Statement:
    """A stolen key of another account cannot carry rows out through our door."""
    reason = "The door asks whose account it is and the roles say what they may do"
    only = {"StringEquals": {"aws:PrincipalAccount": account.id}}
    return Statement((f"{service}:*",), ("*",), only, {"AWS": "*"}, reason)


def _image_layers(account: Account) -> tuple[Statement, ...]:
    reason = "ECR fetches layers for us from a bucket of its own"
    layers = account.bucket(f"prod-{account.region}-starport-layer-bucket/*")
    return (Statement(("s3:GetObject",), (layers,), principals={"AWS": "*"}, reason=reason),)
