"""The calls that a deployment makes, by place: what GitHub's role may ask of AWS, and of which names."""

from collections.abc import Callable

from infra_pulumi.account import Account
from infra_pulumi.owner import Owner
from infra_pulumi.policies import Statement

NO_ARN = "AWS knows no resource for these calls"


def _calls(service: str, *verbs: str) -> tuple[str, ...]:
    return tuple(f"{service}:{verb}" for verb in verbs)


def everywhere(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Alarms, dashboards, notices, logs, images and prices: the same for all places."""
    alarms = _calls("cloudwatch", "PutMetricAlarm", "DeleteAlarms", "DescribeAlarms", "TagResource", "ListTagsForResource")
    boards = _calls("cloudwatch", "PutDashboard", "GetDashboard", "DeleteDashboards")
    makes = ("CreateTopic", "DeleteTopic", "GetTopicAttributes", "SetTopicAttributes", "TagResource", "ListTagsForResource")
    topics = _calls("sns", *makes, "Subscribe", "Unsubscribe", "GetSubscriptionAttributes")
    logs = _calls("logs", "GetLogEvents", "FilterLogEvents", "DescribeLogStreams")
    builds = _calls("codebuild", "StartBuild", "BatchGetBuilds", "ListBuildsForProject")
    images = _calls("ecr", "DescribeImages", "DescribeRepositories", "BatchGetImage")
    mine = owner.prefix
    return (
        Statement(alarms, (account.arn("cloudwatch", f"alarm:{mine}-*"),)),
        Statement(boards, (account.arn("cloudwatch", f"dashboard/{mine}*", region=""),)),
        Statement(topics, (account.arn("sns", f"{mine}-*"),), reason="All topics of this product, a topic's ARN is its name"),
        Statement(logs, (account.arn("logs", f"log-group:/llmspec/{mine}/*"), account.arn("logs", "log-group:/aws/sagemaker/*"))),
        Statement(builds, (account.arn("codebuild", f"project/{mine}-*"),)),
        Statement(images, (account.arn("ecr", f"repository/{mine}-*"),)),
        Statement(("pricing:GetProducts", "cloudwatch:GetMetricData", "tag:GetResources"), ("*",), reason=NO_ARN),
    )


def _linked(account: Account, *services: str) -> tuple[Statement, ...]:
    """The first in an account to use a service makes the role with which that service works there, and needs to be allowed to."""
    names = [f"{service}.amazonaws.com" for service in services]
    roles = tuple(account.arn("iam", f"role/aws-service-role/{name}/*", region="") for name in names)
    return (Statement(("iam:CreateServiceLinkedRole",), roles, {"StringEquals": {"iam:AWSServiceName": names}}),)


def _scaling(account: Account) -> Statement:
    verbs = ("RegisterScalableTarget", "DeregisterScalableTarget", "PutScalingPolicy", "DeleteScalingPolicy", "TagResource")
    calls = _calls("application-autoscaling", *verbs)
    return Statement(
        calls, (account.arn("application-autoscaling", "scalable-target/*"),), reason="A target's name is given by AWS"
    )


def _scaling_looks() -> Statement:
    looks = ("DescribeScalableTargets", "DescribeScalingPolicies", "DescribeScalingActivities")
    return Statement(_calls("application-autoscaling", *looks), ("*",), reason=NO_ARN)


def sagemaker(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Jobs, models, endpoints and their scaling."""
    kinds = ("training-job", "processing-job", "transform-job", "model", "endpoint-config", "endpoint")
    makes = (
        "CreateTrainingJob",
        "CreateProcessingJob",
        "CreateTransformJob",
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
    )
    stops = ("StopTrainingJob", "StopProcessingJob", "StopTransformJob", "DeleteModel", "DeleteEndpointConfig", "DeleteEndpoint")
    looks = tuple(f"Describe{verb.removeprefix('Create')}" for verb in makes)
    moves = ("UpdateEndpoint", "UpdateEndpointWeightsAndCapacities", "AddTags", "ListTags")
    asks = ("InvokeEndpoint", "InvokeEndpointWithResponseStream", "CallWithBearerToken")
    mine = (
        *(account.arn("sagemaker", f"{kind}/{owner.prefix}-*") for kind in kinds),
        account.arn("sagemaker", f"endpoint/{owner.prefix}"),  # it has one name from release to release
    )
    lists = Statement(_calls("sagemaker", "ListModels", "ListEndpointConfigs"), ("*",), reason="A list names no resource")
    return (
        Statement(_calls("sagemaker", *makes, *stops, *looks, *moves, *asks), mine),
        lists,
        *_linked(account, "sagemaker.application-autoscaling"),
        _scaling(account),
        _scaling_looks(),
    )


def emr(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Runs in the one application, which AWS names."""
    applications = account.arn("emr-serverless", "/applications/*")
    tagged = {"StringEquals": {"aws:ResourceTag/llmspec:name": owner.name, "aws:ResourceTag/llmspec:target": owner.target}}
    runs = ("StartJobRun", "GetJobRun", "ListJobRuns", "CancelJobRun")
    verbs = _calls("emr-serverless", *runs, "GetApplication", "StartApplication", "TagResource")
    return (Statement(verbs, (applications,), tagged, reason="An application's name is given by AWS, our tags fence it"),)


def ecs(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """Tasks and services behind a load balancer."""
    mine = owner.prefix
    tasks = _calls(
        "ecs", "RunTask", "StopTask", "DescribeTasks", "CreateService", "UpdateService", "DeleteService", "DescribeServices"
    )
    clusters = _calls("ecs", "CreateCluster", "DeleteCluster", "DescribeClusters", "TagResource")
    kinds = {"ecs": (f"cluster/{mine}*", f"service/{mine}*", f"task/{mine}*", f"task-definition/{mine}*")}
    balancers = (
        f"loadbalancer/app/{owner.cut}*",
        f"targetgroup/{owner.cut}*",
        f"listener/app/{owner.cut}*",
        f"listener-rule/app/{owner.cut}*",
    )
    making = ("CreateLoadBalancer", "CreateTargetGroup", "CreateListener", "CreateRule", "AddTags")
    ending = (
        "DeleteLoadBalancer",
        "DeleteTargetGroup",
        "DeleteListener",
        "DeleteRule",
        "ModifyListener",
        "ModifyRule",
        "ModifyTargetGroup",
    )
    setting = ("ModifyLoadBalancerAttributes", "ModifyTargetGroupAttributes", "SetSecurityGroups", "SetSubnets")
    looks = (
        "DescribeLoadBalancers",
        "DescribeLoadBalancerAttributes",
        "DescribeListenerAttributes",
        "DescribeTargetGroups",
        "DescribeTargetGroupAttributes",
        "DescribeListeners",
        "DescribeRules",
        "DescribeTargetHealth",
        "DescribeTags",
    )
    return (
        Statement((*tasks, *clusters), tuple(account.arn("ecs", kind) for kind in kinds["ecs"])),
        Statement(
            _calls("ecs", "RegisterTaskDefinition", "DeregisterTaskDefinition", "DescribeTaskDefinition"), ("*",), reason=NO_ARN
        ),
        Statement(
            ("ecs:ListTasks",),
            ("*",),
            {"ArnLike": {"ecs:cluster": account.arn("ecs", f"cluster/{mine}*")}},
            reason="It lists tasks before they have names, and the cluster is the fence",
        ),
        Statement(("secretsmanager:DescribeSecret",), (account.arn("secretsmanager", f"secret:{mine}/*"),)),
        Statement(
            _calls("elasticloadbalancing", *making, *ending, *setting),
            tuple(account.arn("elasticloadbalancing", each) for each in balancers),
        ),
        Statement(_calls("elasticloadbalancing", *looks), ("*",), reason=NO_ARN),
        *_linked(account, "ecs", "elasticloadbalancing", "autoscaling", "ecs.application-autoscaling"),
        _scaling(account),
        _scaling_looks(),
    )


def lambda_(owner: Owner, account: Account) -> tuple[Statement, ...]:
    """One function, and the API in front of it."""
    verbs = (
        "CreateFunction",
        "DeleteFunction",
        "GetFunction",
        "UpdateFunctionCode",
        "UpdateFunctionConfiguration",
        "InvokeFunction",
    )
    aliases = (
        "PublishVersion",
        "CreateAlias",
        "UpdateAlias",
        "DeleteAlias",
        "GetAlias",
        "AddPermission",
        "RemovePermission",
        "TagResource",
        "GetProvisionedConcurrencyConfig",
        "PutProvisionedConcurrencyConfig",
        "DeleteProvisionedConcurrencyConfig",
        "PutFunctionConcurrency",
    )
    apis = f"arn:{account.partition}:apigateway:{account.region}::/*"
    rest = _calls("apigateway", "GET", "POST", "PUT", "PATCH", "DELETE")
    return (
        Statement(_calls("lambda", *verbs, *aliases), account.functions(owner.prefix)),
        Statement(("lambda:GetAccountSettings",), ("*",), reason=NO_ARN),
        Statement(rest, (apis,), reason="API Gateway names what it makes itself"),
        _shifting(owner, account),
    )


def _shifting(owner: Owner, account: Account) -> Statement:
    """A rollout in steps is CodeDeploy's: made by the stack, begun and waited for by whoever deploys."""
    kinds = ("Application", "DeploymentGroup", "DeploymentConfig")
    makes = tuple(f"{verb}{kind}" for verb in ("Create", "Get", "Delete") for kind in kinds)
    deployments = ("CreateDeployment", "GetDeployment", "ListDeployments", "StopDeployment")
    keeps = ("UpdateDeploymentGroup", "RegisterApplicationRevision", "GetApplicationRevision", "TagResource", "ListTagsForResource")
    mine = (f"application:{owner.prefix}", f"deploymentgroup:{owner.prefix}/*", f"deploymentconfig:{owner.prefix}-*")
    calls = _calls("codedeploy", *makes, *deployments, *keeps)
    return Statement(calls, tuple(account.arn("codedeploy", each) for each in mine))


CALLS: dict[str, Callable[[Owner, Account], tuple[Statement, ...]]] = {
    "sagemaker": sagemaker,
    "emr": emr,
    "ecs": ecs,
    "lambda": lambda_,
}
