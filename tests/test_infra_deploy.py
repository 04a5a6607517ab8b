"""GitHub's two roles: the one that deploys may do all that apply does, and the one that plans looks and changes nothing."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from asked_parts import SECRET, asked, at, spec
from foundation_parts import GITHUB, allowed, reach, small, trusted
from moto.iam.aws_managed_policies import aws_managed_policies_data
from pulumi_parts import World
from pulumi_service_parts import Made, plain, run

from infra_pulumi.components.duties import DUTIES
from infra_pulumi.components.events import EventsArgs
from infra_pulumi.components.identity import IdentityArgs
from llmspec.infra.asked import foundation_args
from llmspec.infra.state import state_of

STEPS = {"endpoint": {"rollout": {"strategy": "canary"}}}
DEPLOY = {"governance": {"deploy": {"github": "acme/bot", "owner_id": 1, "repository_id": 2}}}
SERVICES = {
    "sagemaker": ("sagemaker", {}),
    "sagemaker serverless": ("sagemaker", at("places.endpoint.sagemaker", {"form": "serverless"})),
    "ecs in steps": ("ecs", STEPS),
    "ecs on machines": ("ecs", at("places.endpoint.ecs.instance", "g5.xlarge")),
    "lambda": ("lambda", STEPS),
    "lambda with users": ("lambda", at("endpoint.access.keys", "cognito")),
}
API = "apigateway:POST apigateway:GET apigateway:DELETE"
WHAT_IT_TAKES = {
    "acm/certificate:Certificate": "acm:RequestCertificate acm:DescribeCertificate acm:DeleteCertificate acm:AddTagsToCertificate",
    "acm/certificateValidation:CertificateValidation": "acm:DescribeCertificate",
    "apigateway/apiKey:ApiKey": API,
    "apigateway/authorizer:Authorizer": API,
    "apigateway/deployment:Deployment": API,
    "apigateway/integration:Integration": f"{API} apigateway:PUT",
    "apigateway/integrationResponse:IntegrationResponse": f"{API} apigateway:PUT",
    "apigateway/method:Method": f"{API} apigateway:PUT",
    "apigateway/methodResponse:MethodResponse": f"{API} apigateway:PUT",
    "apigateway/methodSettings:MethodSettings": "apigateway:GET apigateway:PATCH",
    "apigateway/resource:Resource": API,
    "apigateway/response:Response": f"{API} apigateway:PUT",
    "apigateway/restApi:RestApi": f"{API} apigateway:PATCH",
    "apigateway/stage:Stage": f"{API} apigateway:PATCH",
    "apigateway/usagePlan:UsagePlan": f"{API} apigateway:PATCH",
    "apigateway/usagePlanKey:UsagePlanKey": API,
    "appautoscaling/policy:Policy": "application-autoscaling:PutScalingPolicy application-autoscaling:DescribeScalingPolicies "
    "application-autoscaling:DeleteScalingPolicy",
    "appautoscaling/target:Target": "application-autoscaling:RegisterScalableTarget "
    "application-autoscaling:DescribeScalableTargets application-autoscaling:DeregisterScalableTarget",
    "autoscaling/group:Group": "autoscaling:CreateAutoScalingGroup autoscaling:DescribeAutoScalingGroups "
    "autoscaling:UpdateAutoScalingGroup autoscaling:DeleteAutoScalingGroup ec2:RunInstances",
    "cloudwatch/dashboard:Dashboard": "cloudwatch:PutDashboard cloudwatch:GetDashboard cloudwatch:DeleteDashboards",
    "cloudwatch/logGroup:LogGroup": "logs:CreateLogGroup logs:DescribeLogGroups logs:DeleteLogGroup logs:PutRetentionPolicy "
    "logs:AssociateKmsKey logs:TagResource logs:ListTagsForResource",
    "cloudwatch/logMetricFilter:LogMetricFilter": "logs:PutMetricFilter logs:DescribeMetricFilters logs:DeleteMetricFilter",
    "cloudwatch/logSubscriptionFilter:LogSubscriptionFilter": "logs:PutSubscriptionFilter logs:DescribeSubscriptionFilters "
    "logs:DeleteSubscriptionFilter iam:PassRole",
    "cloudwatch/metricAlarm:MetricAlarm": "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms cloudwatch:DeleteAlarms",
    "codedeploy/application:Application": "codedeploy:CreateApplication codedeploy:GetApplication codedeploy:DeleteApplication",
    "codedeploy/deploymentConfig:DeploymentConfig": "codedeploy:CreateDeploymentConfig codedeploy:GetDeploymentConfig "
    "codedeploy:DeleteDeploymentConfig",
    "codedeploy/deploymentGroup:DeploymentGroup": "codedeploy:CreateDeploymentGroup codedeploy:GetDeploymentGroup "
    "codedeploy:UpdateDeploymentGroup codedeploy:DeleteDeploymentGroup iam:PassRole",
    "ec2/launchTemplate:LaunchTemplate": "ec2:CreateLaunchTemplate ec2:DescribeLaunchTemplates ec2:CreateLaunchTemplateVersion "
    "ec2:DescribeLaunchTemplateVersions ec2:DeleteLaunchTemplate ec2:CreateTags",
    "ec2/securityGroup:SecurityGroup": "ec2:CreateSecurityGroup ec2:DescribeSecurityGroups ec2:DeleteSecurityGroup ec2:CreateTags "
    "ec2:RevokeSecurityGroupEgress",
    "ecs/capacityProvider:CapacityProvider": "ecs:CreateCapacityProvider ecs:DescribeCapacityProviders ecs:DeleteCapacityProvider",
    "ecs/cluster:Cluster": "ecs:CreateCluster ecs:DescribeClusters ecs:DeleteCluster",
    "ecs/clusterCapacityProviders:ClusterCapacityProviders": "ecs:PutClusterCapacityProviders ecs:DescribeClusters",
    "ecs/service:Service": "ecs:CreateService ecs:DescribeServices ecs:UpdateService ecs:DeleteService iam:PassRole",
    "ecs/taskDefinition:TaskDefinition": "ecs:RegisterTaskDefinition ecs:DescribeTaskDefinition ecs:DeregisterTaskDefinition "
    "iam:PassRole",
    "iam/instanceProfile:InstanceProfile": "iam:CreateInstanceProfile iam:GetInstanceProfile iam:DeleteInstanceProfile "
    "iam:AddRoleToInstanceProfile iam:RemoveRoleFromInstanceProfile",
    "iam/role:Role": "iam:CreateRole iam:GetRole iam:DeleteRole iam:TagRole iam:ListInstanceProfilesForRole",
    "iam/rolePolicy:RolePolicy": "iam:PutRolePolicy iam:GetRolePolicy iam:DeleteRolePolicy",
    "iam/rolePolicyAttachment:RolePolicyAttachment": "iam:AttachRolePolicy iam:ListAttachedRolePolicies iam:DetachRolePolicy",
    "lambda/alias:Alias": "lambda:CreateAlias lambda:GetAlias lambda:UpdateAlias lambda:DeleteAlias",
    "lambda/function:Function": "lambda:CreateFunction lambda:GetFunction lambda:UpdateFunctionCode "
    "lambda:UpdateFunctionConfiguration lambda:DeleteFunction lambda:ListVersionsByFunction lambda:GetFunctionCodeSigningConfig "
    "iam:PassRole",
    "lambda/permission:Permission": "lambda:AddPermission lambda:GetPolicy lambda:RemovePermission",
    "lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": "lambda:PutProvisionedConcurrencyConfig "
    "lambda:GetProvisionedConcurrencyConfig lambda:DeleteProvisionedConcurrencyConfig",
    "lb/listener:Listener": "elasticloadbalancing:CreateListener elasticloadbalancing:DescribeListeners "
    "elasticloadbalancing:ModifyListener elasticloadbalancing:DeleteListener elasticloadbalancing:AddTags",
    "lb/listenerRule:ListenerRule": "elasticloadbalancing:CreateRule elasticloadbalancing:DescribeRules "
    "elasticloadbalancing:ModifyRule elasticloadbalancing:DeleteRule",
    "lb/loadBalancer:LoadBalancer": "elasticloadbalancing:CreateLoadBalancer elasticloadbalancing:DescribeLoadBalancers "
    "elasticloadbalancing:DescribeLoadBalancerAttributes elasticloadbalancing:ModifyLoadBalancerAttributes "
    "elasticloadbalancing:DeleteLoadBalancer",
    "lb/targetGroup:TargetGroup": "elasticloadbalancing:CreateTargetGroup elasticloadbalancing:DescribeTargetGroups "
    "elasticloadbalancing:DescribeTargetGroupAttributes elasticloadbalancing:ModifyTargetGroupAttributes "
    "elasticloadbalancing:DeleteTargetGroup",
    "route53/healthCheck:HealthCheck": "route53:CreateHealthCheck route53:GetHealthCheck route53:UpdateHealthCheck "
    "route53:DeleteHealthCheck route53:ChangeTagsForResource",
    "route53/record:Record": "route53:ChangeResourceRecordSets route53:ListResourceRecordSets route53:GetChange "
    "route53:GetHostedZone",
    "sagemaker/endpoint:Endpoint": "sagemaker:CreateEndpoint sagemaker:DescribeEndpoint sagemaker:UpdateEndpoint "
    "sagemaker:DeleteEndpoint sagemaker:AddTags",
    "sagemaker/endpointConfiguration:EndpointConfiguration": "sagemaker:CreateEndpointConfig sagemaker:DescribeEndpointConfig "
    "sagemaker:DeleteEndpointConfig",
    "sagemaker/model:Model": "sagemaker:CreateModel sagemaker:DescribeModel sagemaker:DeleteModel iam:PassRole",
    "secretsmanager/secret:Secret": "secretsmanager:CreateSecret secretsmanager:DescribeSecret secretsmanager:DeleteSecret "
    "secretsmanager:GetResourcePolicy secretsmanager:TagResource kms:GenerateDataKey",
    "secretsmanager/secretVersion:SecretVersion": "secretsmanager:PutSecretValue secretsmanager:GetSecretValue",
    "sns/topic:Topic": "sns:CreateTopic sns:GetTopicAttributes sns:SetTopicAttributes sns:DeleteTopic sns:TagResource "
    "sns:ListTagsForResource",
    "sns/topicPolicy:TopicPolicy": "sns:SetTopicAttributes sns:GetTopicAttributes",
    "sns/topicSubscription:TopicSubscription": "sns:Subscribe sns:GetSubscriptionAttributes sns:Unsubscribe",
    "vpc/securityGroupEgressRule:SecurityGroupEgressRule": "ec2:AuthorizeSecurityGroupEgress ec2:DescribeSecurityGroupRules "
    "ec2:RevokeSecurityGroupEgress",
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule": "ec2:AuthorizeSecurityGroupIngress ec2:DescribeSecurityGroupRules "
    "ec2:RevokeSecurityGroupIngress",
}
"""What AWS's provider calls to make, read, change and remove a resource of each type. One that is not here is found by the test."""


def deployer(world: World) -> list[dict[str, Any]]:
    """All that GitHub's deploying role may do: its own policy, and those attached to it."""
    attached = [made for name, made in world.of("iam/policy:Policy").items() if name.startswith("deploy-")]
    return [*allowed(world, "deploy"), *(each for made in attached for found in made.documents() for each in found["Statement"])]


def called(place: str, change: dict[str, Any]) -> tuple[World, Made]:
    made = spec(place, {"name": "bot", "monitors": {"notify": {"webhook": SECRET, "email": "a@b.example"}}}, DEPLOY, change)
    args = foundation_args(made, "prod")
    world = small(owner=args.owner, storage=args.storage, identity=args.identity, events=EventsArgs())
    return world, run(asked(made)[1])


@pytest.mark.parametrize(("place", "change"), SERVICES.values(), ids=SERVICES)
def test_github_may_do_all_that_the_service_stack_takes(place: str, change: dict[str, Any]) -> None:
    world, made = called(place, change)
    may = {action for each in deployer(world) for action in each["Action"]}
    kinds = {kind.removeprefix("aws:") for kind, _, _ in made.resources if kind.startswith("aws:")}
    assert kinds - set(WHAT_IT_TAKES) == set(), "a new type: say what AWS's provider calls for it"
    assert {kind: lacking for kind in kinds if (lacking := set(WHAT_IT_TAKES[kind].split()) - may)} == {}


def named(made: Made) -> Iterator[tuple[str, str]]:
    """A call and the ARN that it is about, of what has a name of ours."""
    here = "eu-central-1:123456789012"
    for kind, inputs in ((kind, inputs) for kind, _, inputs in made.resources):
        name = str(inputs.get("name") or "")
        match kind.removeprefix("aws:"):
            case "lambda/function:Function":
                yield "lambda:CreateFunction", f"arn:aws:lambda:{here}:function:{name}"
            case "secretsmanager/secret:Secret":
                yield "secretsmanager:CreateSecret", f"arn:aws:secretsmanager:{here}:secret:{inputs['namePrefix']}2026-a1b2c3"
            case "iam/role:Role":
                yield "iam:CreateRole", f"arn:aws:iam::123456789012:role/{name}"
            case "sns/topic:Topic":
                yield "sns:CreateTopic", f"arn:aws:sns:{here}:{name}"
            case "cloudwatch/metricAlarm:MetricAlarm":
                yield "cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{here}:alarm:{name}"
            case "cloudwatch/logGroup:LogGroup":
                yield "logs:CreateLogGroup", f"arn:aws:logs:{here}:log-group:{name}"
            case "sagemaker/endpoint:Endpoint":
                yield "sagemaker:CreateEndpoint", f"arn:aws:sagemaker:{here}:endpoint/{name}"
            case "sagemaker/model:Model":
                yield "sagemaker:CreateModel", f"arn:aws:sagemaker:{here}:model/{name}"
            case "ecs/cluster:Cluster":
                yield "ecs:CreateCluster", f"arn:aws:ecs:{here}:cluster/{name}"
            case "ecs/capacityProvider:CapacityProvider":
                yield "ecs:CreateCapacityProvider", f"arn:aws:ecs:{here}:capacity-provider/{name}"
            case "lb/loadBalancer:LoadBalancer":
                yield "elasticloadbalancing:CreateLoadBalancer", f"arn:aws:elasticloadbalancing:{here}:loadbalancer/app/{name}/1a"
            case "codedeploy/application:Application":
                yield "codedeploy:CreateApplication", f"arn:aws:codedeploy:{here}:application:{name}"


@pytest.mark.parametrize(("place", "change"), SERVICES.values(), ids=SERVICES)
def test_what_github_may_do_reaches_the_names_that_the_service_stack_gives(place: str, change: dict[str, Any]) -> None:
    world, made = called(place, change)
    found = list(named(made))
    assert len(found) > 3
    lacking = [
        (action, arn) for action, arn in found if not any(fnmatchcase(arn, reached) for reached in reach(deployer(world), action))
    ]
    assert lacking == []


def passable(statements: list[dict[str, Any]], role: str) -> set[str]:
    """The services to which whoever may do this may hand a role of this name."""
    passing = [each for each in statements if "iam:PassRole" in each["Action"]]
    reaching = [each for each in passing if any(fnmatchcase(role, re.split("[:/]", arn)[-1]) for arn in each["Resource"])]
    return {service for each in reaching for service in each["Condition"]["StringEquals"]["iam:PassedToService"]}


def takers(trust: str) -> set[str]:
    """The services that take a role on, by its trust policy."""
    found = [each["Principal"].get("Service", []) for each in json.loads(trust)["Statement"]]
    return {service for each in found for service in ([each] if isinstance(each, str) else each)}


def handed(world: World, made: Made) -> dict[str, set[str]]:
    """Role -> services: those that the stack makes, those of the foundation that it names, and those of jobs."""
    founded = {role.inputs["name"]: takers(role.inputs["assumeRolePolicy"]) for role in world.of("iam/role:Role").values()}
    own = {role["name"]: takers(role["assumeRolePolicy"]) for role in made.all("iam/role:Role").values()}
    named = set(re.findall(r":role/([\w-]+)", json.dumps([plain(inputs) for _, _, inputs in made.resources], default=str)))
    jobs = {f"bot-prod-{kind}" for kind in DUTIES if kind != "build"} & set(founded)  # who builds images is told by the foundation
    return own | {role: founded[role] for role in (named & set(founded)) | jobs}


@pytest.mark.parametrize(("place", "change"), SERVICES.values(), ids=SERVICES)
def test_github_may_hand_each_role_to_the_service_that_takes_it(place: str, change: dict[str, Any]) -> None:
    world, made = called(place, change)
    found = handed(world, made)
    assert {"bot-prod-carrier", "bot-prod-webhook"} <= set(found)
    by_people = {"pods.eks.amazonaws.com"}  # who deploys to EKS
    lacking = {role: services - by_people - passable(deployer(world), role) for role, services in found.items()}
    assert {role: services for role, services in lacking.items() if services} == {}


LINKED = {
    "autoscaling/group:Group": {"autoscaling"},
    "ecs/cluster:Cluster": {"ecs"},
    "lb/loadBalancer:LoadBalancer": {"elasticloadbalancing"},
}
"""The service that works in an account with a role of its own, made by whoever is first to make such a thing."""


@pytest.mark.parametrize(("place", "change"), SERVICES.values(), ids=SERVICES)
def test_github_may_be_the_first_in_an_account_to_use_a_service_and_no_other(place: str, change: dict[str, Any]) -> None:
    world, made = called(place, change)
    kinds = {kind.removeprefix("aws:") for kind, _, _ in made.resources}
    scaled = {each["serviceNamespace"] for each in made.all("appautoscaling/target:Target").values()}
    wanted = set().union(*(LINKED.get(kind, set()) for kind in kinds)) | {f"{each}.application-autoscaling" for each in scaled}
    linking = [each for each in deployer(world) if "iam:CreateServiceLinkedRole" in each["Action"]]
    fenced = {name for each in linking for name in each["Condition"]["StringEquals"]["iam:AWSServiceName"]}
    assert {f"{service}.amazonaws.com" for service in wanted} <= fenced
    assert {arn.rpartition(":role/")[2] for each in linking for arn in each["Resource"]} == {
        f"aws-service-role/{name}/*" for name in fenced
    }


def test_github_hands_the_foundation_s_roles_on_and_changes_none(full_ground: World) -> None:
    changes = ("iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:DeleteRole")
    reached = {arn for action in changes for arn in reach(deployer(full_ground), action)}
    assert "arn:aws:iam::123456789012:role/bot-prod-carrier" not in reached


def test_github_may_open_the_state_where_llmspec_keeps_it() -> None:
    made = spec("sagemaker", {"name": "bot"}, DEPLOY)
    bucket = state_of(made).url.removeprefix("s3://").partition("?")[0]
    world, _ = called("sagemaker", {})
    statements = deployer(world)
    assert f"arn:aws:s3:::{bucket}/*" in reach(statements, "s3:PutObject")
    assert f"arn:aws:s3:::{bucket}" in reach(statements, "s3:GetBucketTagging")
    (sealed,) = [each for each in statements if "kms:ResourceAliases" in json.dumps(each.get("Condition", {}))]
    assert sealed["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": state_of(made).secrets_provider[9:].split("?")[0]}
    }
    assert {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"} <= set(sealed["Action"])


def test_github_may_build_images_and_look_for_what_is_in_no_stack(full_ground: World) -> None:
    may = deployer(full_ground)
    for verb in ("StartBuild", "BatchGetBuilds", "ListBuildsForProject"):
        assert reach(may, f"codebuild:{verb}") == {"arn:aws:codebuild:eu-central-1:123456789012:project/bot-prod-*"}
    assert reach(may, "ecr:DescribeImages") == {"arn:aws:ecr:eu-central-1:123456789012:repository/bot-prod-*"}
    assert reach(may, "tag:GetResources") == {"*"}


CHANGES = ("Create", "Put", "Delete", "Update", "Start", "Stop", "Invoke", "Run", "Add", "Tag", "Pass", "Attach", "POST", "PATCH")


def test_the_role_of_pull_requests_changes_nothing_and_reads_no_rows_and_no_secret(full_ground: World) -> None:
    may = allowed(full_ground, "plan")
    actions = {action for each in may for action in each["Action"]}
    assert [action for action in actions if action.partition(":")[2].startswith(CHANGES)] == []
    assert not actions & {
        "secretsmanager:GetSecretValue",
        "logs:GetLogEvents",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "iam:PassRole",
    }
    read = reach(may, "s3:GetObject")
    papers = {f"arn:aws:s3:::acme-llm/models/bot/*.{kind}" for kind in ("json", "head")}
    assert read == {*papers, "arn:aws:s3:::acme-state/llm/*"}
    assert not any(fnmatchcase("arn:aws:s3:::acme-llm/models/bot/data/k1/train.parquet", each) for each in read)
    assert {"sagemaker:DescribeEndpoint", "ecr:DescribeImages", "codebuild:BatchGetBuilds", "tag:GetResources"} <= actions


def audited(action: str) -> bool:
    """Whether AWS's own SecurityAudit lets it."""
    statements = json.loads(aws_managed_policies_data)["SecurityAudit"]["Document"]["Statement"]
    actions = [action for each in statements for action in each["Action"]]
    return any(fnmatchcase(action.lower(), each.lower()) for each in actions)


def test_the_role_of_the_night_may_ask_how_everything_is_but_a_secret_s_value(full_ground: World) -> None:
    may = {action for each in allowed(full_ground, "plan") for action in each["Action"]}
    verbs = ("Describe", "List", "Get", "GET")
    asked = {call for calls in WHAT_IT_TAKES.values() for call in calls.split() if call.partition(":")[2].startswith(verbs)}
    asked |= {"glue:GetDatabase", "budgets:ViewBudget", "ce:GetAnomalyMonitors", "ce:GetAnomalySubscriptions"}
    assert {call for call in asked - may if not audited(call)} == {"secretsmanager:GetSecretValue"}


def test_who_only_looks_sees_no_key_that_callers_of_a_function_show(full_ground: World) -> None:
    (denied,) = [each for each in allowed(full_ground, "plan") if each["Effect"] == "Deny"]
    assert denied["Action"] == ["apigateway:GET"]
    assert {each.partition("::")[2] for each in denied["Resource"]} >= {"/apikeys", "/apikeys/*", "/usageplans/*/keys"}
    assert [each for each in allowed(full_ground, "deploy") if each["Effect"] == "Deny"] == []


def test_pull_requests_come_in_by_an_environment_of_their_own(full_ground: World) -> None:
    doors = {role: trusted(full_ground, role)[0]["Condition"]["StringEquals"] for role in ("deploy", "plan")}
    subjects = {role: door["token.actions.githubusercontent.com:sub"] for role, door in doors.items()}
    assert subjects["plan"] == ["repo:acme/bot:environment:prod-plan", "repo:acme@1234/bot@5678:environment:prod-plan"]
    assert not set(subjects["plan"]) & set(subjects["deploy"])
    assert full_ground.exports["plan_role"].endswith(":bot-prod-plan")
    assert full_ground.exports["deploy_role"].endswith(":bot-prod-deploy")


def test_github_may_ask_which_image_ecs_s_machines_start_from() -> None:
    world, made = called("ecs", at("places.endpoint.ecs.instance", "g5.xlarge"))
    asked_for = made.one("ec2/launchTemplate:LaunchTemplate")["imageId"].removeprefix("resolve:ssm:")
    arn = f"arn:aws:ssm:eu-central-1::parameter{asked_for}"
    assert any(fnmatchcase(arn, reached) for reached in reach(deployer(world), "ssm:GetParameters"))


def test_names_are_given_only_in_the_zones_of_the_spec() -> None:
    world, _ = called("ecs", {})
    (zone,) = reach(deployer(world), "route53:ChangeResourceRecordSets")
    assert zone.startswith("arn:aws:route53:::hostedzone/Z")
    assert not reach(deployer(small(identity=IdentityArgs(deploy=GITHUB))), "route53:ChangeResourceRecordSets")
