"""Address: a name of ours, the certificate for it, and the record that leads to a balancer."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.serving.wanted import Serving


@dataclass(frozen=True)
class AddressArgs:
    """The name, the hosted zone that it is in, and the certificate when there is one already."""

    wanted: Serving
    domain: str
    zone_id: str
    certificate_arn: str = ""


class Address(pulumi.ComponentResource):
    """A certificate that the zone itself vouches for; `point` makes the record once there is something to point at."""

    def __init__(self, name: str, args: AddressArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Address", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        self.certificate_arn: pulumi.Input[str] = args.certificate_arn or self._certificate()
        self.register_outputs({"certificate": self.certificate_arn})

    def _certificate(self) -> pulumi.Output[str]:
        tags = self._args.wanted.tags()
        certificate = aws.acm.Certificate(
            self._name, domain_name=self._args.domain, validation_method="DNS", tags=tags, opts=self._child
        )
        proof = certificate.domain_validation_options[0]
        record = aws.route53.Record(
            f"{self._name}-proof",
            zone_id=self._args.zone_id,
            name=proof.resource_record_name,
            type=proof.resource_record_type,
            records=[proof.resource_record_value],
            ttl=60,
            allow_overwrite=True,
            opts=self._child,
        )
        valid = aws.acm.CertificateValidation(
            self._name, certificate_arn=certificate.arn, validation_record_fqdns=[record.fqdn], opts=self._child
        )
        return valid.certificate_arn

    def point(self, balancer: aws.lb.LoadBalancer, check: pulumi.Input[str] | None) -> aws.route53.Record | None:
        """The first record of a pair even while there is no second, which can so come and go beside it: all records of a name have
        the routing of the first. Alone it follows no health: nobody else could answer."""
        if not self._args.zone_id:
            return None
        target = aws.route53.RecordAliasArgs(
            name=balancer.dns_name, zone_id=balancer.zone_id, evaluate_target_health=check is not None
        )
        return aws.route53.Record(
            self._name,
            zone_id=self._args.zone_id,
            name=self._args.domain,
            type="A",
            aliases=[target],
            set_identifier=f"{self._args.wanted.owner.prefix}-primary",
            health_check_id=check,
            failover_routing_policies=[aws.route53.RecordFailoverRoutingPolicyArgs(type="PRIMARY")],
            opts=self._child,
        )
