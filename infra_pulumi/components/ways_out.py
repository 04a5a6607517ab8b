"""Public subnets, and NAT gateways where somebody asked for them: what the internet can see of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.owner import Owner


@dataclass(frozen=True)
class WaysOutArgs:
    """Which ways, and whose."""

    vpc: pulumi.Output[str]
    blocks: Sequence[str]
    zones: Sequence[pulumi.Output[str]]
    nat_gateways: int
    tables: Sequence[pulumi.Output[str]]
    """Of the private subnets, which go out through the gateways."""
    work: pulumi.Output[str]


class WaysOut(pulumi.ComponentResource):
    """A public load balancer stands here; jobs never do."""

    def __init__(self, owner: Owner, args: WaysOutArgs, opts: pulumi.ResourceOptions) -> None:
        super().__init__("llmspec:aws:WaysOut", "ways-out", None, opts)
        self._args, self._opts = args, pulumi.ResourceOptions(parent=self)
        self._tags = {**owner.tagged("network"), "Name": f"{owner.prefix}-public"}
        self.gateway = aws.ec2.InternetGateway("internet", vpc_id=args.vpc, tags=self._tags, opts=self._opts)
        self.subnets = self._subnets()
        self.gateways = [self._nat(number) for number in range(args.nat_gateways)]
        if self.gateways:
            self._lead_out()
        self.register_outputs({"subnets": [each.id for each in self.subnets]})

    def _subnets(self) -> list[aws.ec2.Subnet]:
        table = aws.ec2.RouteTable("public", vpc_id=self._args.vpc, tags=self._tags, opts=self._opts)
        aws.ec2.Route(
            "public", route_table_id=table.id, destination_cidr_block="0.0.0.0/0", gateway_id=self.gateway.id, opts=self._opts
        )
        found = []
        for number, (block, zone) in enumerate(zip(self._args.blocks, self._args.zones, strict=True), start=1):
            name = f"public-{number}"
            subnet = aws.ec2.Subnet(
                name, vpc_id=self._args.vpc, cidr_block=block, availability_zone=zone, tags=self._tags, opts=self._opts
            )
            aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table.id, opts=self._opts)
            found.append(subnet)
        return found

    def _nat(self, index: int) -> aws.ec2.NatGateway:
        name = f"nat-{index + 1}"
        # An address is of use once the network has a gateway, and can go only before the gateway goes.
        after = pulumi.ResourceOptions(parent=self, depends_on=[self.gateway])
        address = aws.ec2.Eip(name, domain="vpc", tags=self._tags, opts=after)
        return aws.ec2.NatGateway(name, allocation_id=address.id, subnet_id=self.subnets[index].id, tags=self._tags, opts=after)

    def _lead_out(self) -> None:
        for index, table in enumerate(self._args.tables):
            gateway = self.gateways[index % len(self.gateways)]
            aws.ec2.Route(
                f"private-{index + 1}",
                route_table_id=table,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=gateway.id,
                opts=self._opts,
            )
        aws.vpc.SecurityGroupEgressRule(
            "work-to-internet",
            security_group_id=self._args.work,
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="The internet, through the gateways",
            tags=self._tags,
            opts=self._opts,
        )
