"""The account that a program makes things in, and the ARNs of what is in it, known from names alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class Account:
    """ARNs by name keep components apart: a role may name a stream that is made after it."""

    region: str
    opts: pulumi.InvokeOptions | None = None
    elsewhere: Mapping[str, aws.Provider] = field(default_factory=dict)
    """Further regions, for copies."""

    @cached_property
    def id(self) -> pulumi.Output[str]:
        return aws.get_caller_identity_output(opts=self.opts).account_id

    @property
    def partition(self) -> str:
        """China and GovCloud are worlds of their own."""
        return "aws-cn" if self.region.startswith("cn-") else "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    @property
    def root(self) -> pulumi.Output[str]:
        """Whoever the account's own policies let in."""
        return self.arn("iam", "root", region="")

    def arn(self, service: str, resource: str, region: str | None = None) -> pulumi.Output[str]:
        """Of a thing in this account; `region=""` for what is global."""
        where = self.region if region is None else region
        return pulumi.Output.concat(f"arn:{self.partition}:{service}:{where}:", self.id, f":{resource}")

    def functions(self, prefix: str) -> tuple[pulumi.Output[str], ...]:
        """Lambda's functions of this name or a longer one, and their versions."""
        return tuple(self.arn("lambda", f"function:{prefix}{rest}") for rest in ("", ":*", "-*"))

    def bucket(self, path: str) -> str:
        """`bucket` or `bucket/folder/*`: buckets belong to no region and no account."""
        return f"arn:{self.partition}:s3:::{path}"

    def managed(self, policy: str) -> str:
        """A policy that AWS keeps."""
        return f"arn:{self.partition}:iam::aws:policy/{policy}"

    def at(self, region: str, parent: pulumi.Resource, keep: bool = False) -> pulumi.ResourceOptions:
        """A child of `parent` that is made in this region. What is kept outlives `destroy`."""
        provider = None if region == self.region else self.elsewhere[region]
        return pulumi.ResourceOptions(parent=parent, provider=provider, retain_on_delete=keep)

    def here(self) -> dict[str, dict[str, pulumi.Output[str]]]:
        """A condition: an AWS service acts for this account and for no other (the confused deputy)."""
        return {"StringEquals": {"aws:SourceAccount": self.id}}
