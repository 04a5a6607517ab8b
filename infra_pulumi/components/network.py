"""network: private subnets in two zones or more, and doors to AWS's services instead of a way out."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.logs import Logs
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.components.vpc_endpoints import Doors, DoorsArgs
from infra_pulumi.components.ways_out import WaysOut, WaysOutArgs
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement
from llmspec.errors import PlaceError

SERVICES = ("ecr.api", "ecr.dkr", "logs", "kms", "sagemaker.api", "sagemaker.runtime")


@dataclass(frozen=True)
class NetworkArgs:
    """Where jobs and endpoints stand."""

    cidr: str = "10.42.0.0/16"
    zones: int = 2
    """In how many zones: `endpoint.scale.zones` and more."""
    services: tuple[str, ...] = SERVICES
    """Doors, beside S3's, which is free. Each costs by the hour and zone."""
    public_subnets: bool = False
    """Subnets that a public load balancer may stand in. They cost nothing."""
    nat_gateways: int = 0
    """Ways out into the internet. They cost by hour and gigabyte: 0 for none, 1 to save, one a zone to survive a zone."""

    def __post_init__(self) -> None:
        faults = []
        if self.zones < 2:
            faults.append(f"zones: {self.zones} falls with its zone; write 2 or more")
        if not 0 <= self.nat_gateways <= self.zones:
            faults.append(f"nat_gateways: {self.nat_gateways} is not between 0 and one a zone ({self.zones})")
        if IPv4Network(self.cidr).prefixlen not in range(16, 22):
            faults.append(
                f"cidr: {self.cidr} has no room for the subnets, or is more than AWS takes; write one between /16 and /21"
            )
        if faults:
            raise ValueError("network: " + "; ".join(faults))

    def blocks(self) -> tuple[list[str], list[str]]:
        """The private subnets' addresses and the public ones': sixteenths of the whole, the latter from its end."""
        parts = [str(part) for part in IPv4Network(self.cidr).subnets(prefixlen_diff=4)]
        return parts[: self.zones], parts[-self.zones :]


class Network(pulumi.ComponentResource):
    """One VPC. `work` is the security group of whatever works in it."""

    def __init__(
        self, owner: Owner, account: Account, args: NetworkArgs, logs: Logs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llmspec:aws:Network", "network", None, opts)
        self._owner, self._account, self._args = owner, account, args
        self._opts = pulumi.ResourceOptions(parent=self)
        self._tags = {**owner.tagged("network"), "Name": owner.prefix}
        self.cidr = args.cidr
        self.vpc = aws.ec2.Vpc(
            "network", cidr_block=args.cidr, enable_dns_support=True, enable_dns_hostnames=True, tags=self._tags, opts=self._opts
        )
        self._close_the_default()
        self.private, self.tables = self._subnets()
        self.work = self._work()
        self.doors = self._doors()
        self.public = self._ways_out().subnets if args.public_subnets or args.nat_gateways else []
        self._watch(logs)
        self.register_outputs({"vpc": self.vpc.id, "private": [each.id for each in self.private], "work": self.work.id})

    def _close_the_default(self) -> None:
        """AWS gives each VPC a group that lets its members talk: with no rules left nobody can lean on it."""
        aws.ec2.DefaultSecurityGroup("closed", vpc_id=self.vpc.id, ingress=[], egress=[], tags=self._tags, opts=self._opts)

    def _subnets(self) -> tuple[list[aws.ec2.Subnet], list[aws.ec2.RouteTable]]:
        subnets, tables = [], []
        for number, (block, zone) in enumerate(zip(self._args.blocks()[0], self._zones(), strict=True), start=1):
            name = f"private-{number}"
            tags = {**self._tags, "Name": f"{self._owner.prefix}-{name}"}
            subnets.append(
                aws.ec2.Subnet(name, vpc_id=self.vpc.id, cidr_block=block, availability_zone=zone, tags=tags, opts=self._opts)
            )
            tables.append(aws.ec2.RouteTable(name, vpc_id=self.vpc.id, tags=tags, opts=self._opts))
            aws.ec2.RouteTableAssociation(name, subnet_id=subnets[-1].id, route_table_id=tables[-1].id, opts=self._opts)
        return subnets, tables

    def _work(self) -> aws.ec2.SecurityGroup:
        group = aws.ec2.SecurityGroup(
            "work",
            name=f"{self._owner.prefix}-work",
            description="Jobs and endpoints",
            vpc_id=self.vpc.id,
            tags=self._tags,
            opts=self._opts,
        )
        # Machines of one training job, and Spark's, talk to one another.
        for kind in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
            kind(
                "work-among-itself",
                security_group_id=group.id,
                referenced_security_group_id=group.id,
                ip_protocol="-1",
                description="Machines of one job",
                tags=self._tags,
                opts=self._opts,
            )
        return group

    def _doors(self) -> Doors:
        subnets, tables = [each.id for each in self.private], [each.id for each in self.tables]
        wanted = DoorsArgs(self.vpc.id, subnets, tables, self.work.id, self._args.services)
        return Doors(self._owner, self._account, wanted, self._opts)

    def _ways_out(self) -> WaysOut:
        tables = [each.id for each in self.tables]
        wanted = WaysOutArgs(self.vpc.id, self._args.blocks()[1], self._zones(), self._args.nat_gateways, tables, self.work.id)
        return WaysOut(self._owner, wanted, self._opts)

    def _zones(self) -> list[pulumi.Output[str]]:
        """Zones by their order: their names differ between accounts. Local Zones, which an account opts in to, are left out:
        most services do not stand there."""
        regular = aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])
        found = aws.get_availability_zones_output(state="available", filters=[regular], opts=pulumi.InvokeOptions(parent=self))
        enough = found.names.apply(lambda names: self._enough(list(names)))
        return [enough[index] for index in range(self._args.zones)]

    def _enough(self, names: list[str]) -> list[str]:
        if len(names) < self._args.zones:
            fault = f"endpoint.scale.zones: {self._args.zones} asked for, and {self._owner.region} has {len(names)}"
            raise PlaceError(f"{fault}\n  write {len(names)}, or choose another region")
        return names

    def _watch(self, logs: Logs) -> None:
        """Who spoke to whom: kept as long as the other logs."""
        group = logs.groups["network"]
        verbs = tuple(f"logs:{verb}" for verb in ("CreateLogStream", "PutLogEvents", "DescribeLogStreams"))
        named = self._account.arn("logs", f"log-group:/llmspec/{self._owner.prefix}/network:*")
        looks = Statement(("logs:DescribeLogGroups",), ("*",), reason="Log groups are described all or none")
        wanted = RoleArgs("network", ("vpc-flow-logs",), (Statement(verbs, (named,)), looks))
        role = Role(self._owner, self._account, "flow-log", wanted, self._opts)
        aws.ec2.FlowLog(
            "network",
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=self._tags,
            opts=self._opts,
        )
