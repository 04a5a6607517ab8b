"""What a deployment asks beside its place: alarms' way to people, filters of the log, health checks, and the ground of ECS."""

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

BY_AWS = "AWS names it, and our tag is the fence"
NO_NAME_YET = "It is described before it has a name"


def calls(service: str, *verbs: str) -> tuple[str, ...]:
    return tuple(f"{service}:{verb}" for verb in verbs)


def watching(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """The room's secret address and the function that writes there, filters and groups of the log, a health check."""
    mine = owner.prefix
    secrets = ("CreateSecret", "DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecret", "DeleteSecret", "TagResource")
    makes = ("CreateFunction", "GetFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteFunction", "TagResource")
    keeps = ("AddPermission", "RemovePermission", "GetPolicy", "ListVersionsByFunction", "GetFunctionCodeSigningConfig")
    filters = ("PutMetricFilter", "DeleteMetricFilter", "PutSubscriptionFilter", "DeleteSubscriptionFilter")
    looks = ("DescribeMetricFilters", "DescribeSubscriptionFilters", "ListTagsForResource")
    groups = ("CreateLogGroup", "DeleteLogGroup", "PutRetentionPolicy", "AssociateKmsKey", "TagResource")
    health = ("GetHealthCheck", "UpdateHealthCheck", "DeleteHealthCheck", "ChangeTagsForResource", "ListTagsForResource")
    ours = (account.arn("logs", f"log-group:/llmspec/{mine}/*"), account.arn("logs", f"log-group:/aws/sagemaker/Endpoints/{mine}*"))
    checks = f"arn:{account.partition}:route53:::healthcheck/*"
    return (
        Statement(
            calls("secretsmanager", *secrets, "GetResourcePolicy"), (account.arn("secretsmanager", f"secret:{mine}-webhook-*"),)
        ),
        Statement(calls("lambda", *makes, *keeps), (account.arn("lambda", f"function:{mine}-webhook"),)),
        Statement(calls("logs", *filters, *looks, *groups), ours, reason="Groups of this product, and streams below them"),
        Statement(("logs:DescribeLogGroups",), ("*",), reason=NO_NAME_YET),
        Statement(("route53:CreateHealthCheck",), ("*",), reason=NO_NAME_YET),
        Statement(calls("route53", *health), (checks,), reason="A health check's name is given by AWS"),
    )


def machines(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """What copies at ECS run on and are reached by: machines with a GPU, and who may speak to whom."""
    asked = {"StringEquals": {"aws:RequestTag/llmspec:name": owner.name, "aws:RequestTag/llmspec:target": owner.target}}
    tagged = {"StringEquals": {"aws:ResourceTag/llmspec:name": owner.name, "aws:ResourceTag/llmspec:target": owner.target}}
    groups, rules, templates = (
        account.arn("ec2", f"{kind}/*") for kind in ("security-group", "security-group-rule", "launch-template")
    )
    fleets = account.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")
    opens = ("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress")
    doors = (*opens, "RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress")
    changes = ("DeleteSecurityGroup", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate", "DeleteLaunchTemplate")
    fleet_looks = ("DescribeAutoScalingGroups", "DescribeScalingActivities", "DescribeTags")
    looks = ("SecurityGroups", "SecurityGroupRules", "LaunchTemplates", "LaunchTemplateVersions", "Vpcs", "Subnets", "Tags")
    others = ("InstanceTypes", "NetworkInterfaces", "AccountAttributes", "InternetGateways")
    providers = ("CreateCapacityProvider", "UpdateCapacityProvider", "DeleteCapacityProvider", "DescribeCapacityProviders")
    made = {"StringEquals": {"ec2:CreateAction": ["CreateSecurityGroup", "CreateLaunchTemplate", *opens]}}
    profile = account.arn("iam", "instance-profile/machines-*", region="")
    profiles = ("CreateInstanceProfile", "GetInstanceProfile", "DeleteInstanceProfile", "TagInstanceProfile")
    # AWS's own parameters are no account's.
    images = f"arn:{account.partition}:ssm:{account.region}::parameter/aws/service/ecs/optimized-ami/*"
    return (
        Statement(("ssm:GetParameters",), (images,)),
        Statement(calls("ec2", "CreateSecurityGroup", "CreateLaunchTemplate"), (groups, templates), asked, reason=BY_AWS),
        Statement(("ec2:CreateSecurityGroup",), (account.arn("ec2", "vpc/*"),), tagged, reason=BY_AWS),
        Statement(calls("ec2", *doors, *changes), (groups, templates), tagged, reason=BY_AWS),
        Statement(calls("ec2", *doors), (rules,), reason="A rule has no name, and its group is the fence"),
        Statement(("ec2:CreateTags",), (groups, rules, templates), made, reason="What was just made is tagged"),
        Statement(
            ("ec2:RunInstances",),
            ("*",),
            {"ArnLike": {"ec2:LaunchTemplate": templates}},
            reason="A fleet starts machines from a template only, and asks once whether its maker might",
        ),
        Statement(calls("ec2", *(f"Describe{each}" for each in (*looks, *others))), ("*",), reason="EC2 describes everything"),
        Statement(calls("autoscaling", "CreateAutoScalingGroup", "CreateOrUpdateTags"), (fleets,), asked, reason=BY_AWS),
        Statement(
            calls("autoscaling", "UpdateAutoScalingGroup", "DeleteAutoScalingGroup", "DeleteTags", "SetInstanceProtection"),
            (fleets,),
            tagged,
            reason=BY_AWS,
        ),
        Statement(calls("autoscaling", *fleet_looks), ("*",), reason=NO_NAME_YET),
        Statement(calls("ecs", *providers), (account.arn("ecs", f"capacity-provider/machines-{owner.prefix}"),)),
        Statement(("ecs:PutClusterCapacityProviders",), (account.arn("ecs", f"cluster/{owner.prefix}*"),)),
        Statement(
            calls("iam", *profiles, "AddRoleToInstanceProfile", "RemoveRoleFromInstanceProfile"),
            (profile,),
            reason="Pulumi ends this name, and only the product's role for machines may be put in",
        ),
    )


def named(zones: tuple[str, ...], account: Account) -> tuple[Statement, ...]:
    """A host's name and its certificate: the zones that the spec names, and no others."""
    certificates = account.arn("acm", "certificate/*")
    makes = ("RequestCertificate", "DescribeCertificate", "DeleteCertificate", "AddTagsToCertificate", "ListTagsForCertificate")
    owned = tuple(f"arn:{account.partition}:route53:::hostedzone/{zone}" for zone in zones)
    records = calls("route53", "ChangeResourceRecordSets", "ListResourceRecordSets", "GetHostedZone")
    changes = f"arn:{account.partition}:route53:::change/*"
    return (
        Statement(calls("acm", *makes), (certificates,), reason="A certificate's name is given by AWS"),
        Statement(records, owned),
        Statement(("route53:GetChange",), (changes,), reason="A change's name is given by AWS"),
    )
