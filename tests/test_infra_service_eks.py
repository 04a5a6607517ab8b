"""The service stack on EKS: the cluster, and the manifests of what runs in it."""

import dataclasses
import json

import pytest
import yaml
from pulumi_service_parts import GROUND, release, run, serving

from infra_pulumi.service import faults
from infra_pulumi.serving.eks import EksArgs
from infra_pulumi.serving.wanted import Alarm, Monitors, Rollout, Scale, SecondRegion, Variant

CPU = EksArgs(domain="bot.acme.example", certificate_arn="arn:aws:acm:eu-central-1:111122223333:certificate/1")
GPU = dataclasses.replace(CPU, instance="g5.xlarge", gpus=1)
AB = (Variant(release(12), 90), Variant(release(13), 10))


def told(wanted) -> str:
    return "\n".join(map(str, faults(wanted)))


def rendered(made):
    """Kind and name -> the manifest."""
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(made.outputs["names"]["manifests"])}


def pod(found, side: str = "primary"):
    return found["Deployment", side]["spec"]["template"]["spec"]


def test_the_clusters_secrets_are_encrypted_and_it_is_reached_from_the_network_only() -> None:
    cluster = run(serving(CPU)).one("eks/cluster:Cluster")
    assert cluster["encryptionConfig"]["provider"]["keyArn"] == GROUND.key_arn
    assert cluster["vpcConfig"]["endpointPublicAccess"] is False
    assert cluster["vpcConfig"]["subnetIds"] == ["subnet-a", "subnet-b"]
    assert "audit" in cluster["enabledClusterLogTypes"]
    assert (cluster["version"], cluster["upgradePolicy"]) == ("1.35", {"supportType": "STANDARD"})
    opened = run(serving(dataclasses.replace(CPU, operators=("192.0.2.0/24",)))).one("eks/cluster:Cluster")["vpcConfig"]
    assert (opened["endpointPublicAccess"], opened["publicAccessCidrs"]) == (True, ["192.0.2.0/24"])


def test_the_clusters_own_machines_are_let_through_the_doors() -> None:
    rule = run(serving(CPU)).all("vpc/securityGroupIngressRule:SecurityGroupIngressRule")["doors-from-cluster"]
    assert (rule["securityGroupId"], rule["referencedSecurityGroupId"]) == (GROUND.doors_group_id, "sg-cluster")
    assert (rule["fromPort"], rule["toPort"]) == (443, 443)


def test_no_log_of_the_cluster_is_kept_for_ever() -> None:
    groups = run(serving(CPU, log_days=30)).all("cloudwatch/logGroup:LogGroup").values()
    kept = {group["name"]: group["retentionInDays"] for group in groups}
    collected = [f"/aws/containerinsights/bot-prod/{kind}" for kind in ("application", "performance", "host", "dataplane")]
    assert kept.items() >= dict.fromkeys(["/aws/eks/bot-prod/cluster", *collected], 30).items()


def test_pods_read_the_artifact_by_an_identity_of_their_own_and_hold_no_key() -> None:
    made = run(serving(CPU))
    identity = made.one("eks/podIdentityAssociation:PodIdentityAssociation")
    found = rendered(made)
    assert (identity["namespace"], identity["serviceAccount"]) == ("bot-prod", pod(found)["serviceAccountName"])
    (reads,) = (each for _, each in made.statements() if each["Action"] == ["s3:GetObject"])
    assert reads["Resource"] == ["arn:aws:s3:::acme-llm/bot/onnx/key13/*"]


def test_a_gpu_copy_asks_for_its_gpu_on_machines_that_others_keep_away_from() -> None:
    found = rendered(run(serving(GPU)))
    assert pod(found)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    machines = found["NodePool", "bot-prod"]["spec"]["template"]["spec"]
    assert machines["taints"][0]["key"] == pod(found)["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert machines["requirements"][0]["values"] == ["g5.xlarge"]
    assert "taints" not in rendered(run(serving(CPU)))["NodePool", "bot-prod"]["spec"]["template"]["spec"]


def test_the_disk_that_a_copy_was_given_is_there_on_its_machine() -> None:
    plain, large = (rendered(run(serving(dataclasses.replace(CPU, disk=disk)))) for disk in ("20Gi", "204800Mi"))
    sizes = [each["NodeClass", "bot-prod"]["spec"]["ephemeralStorage"]["size"] for each in (plain, large)]
    assert sizes == ["80Gi", "240Gi"], "AWS gives 80 by itself; beside the copy's there are the image and the system"
    resources = pod(large)["containers"][0]["resources"]
    assert resources["requests"]["ephemeral-storage"] == pod(large)["volumes"][0]["emptyDir"]["sizeLimit"] == "204800Mi"
    assert "ephemeral-storage" not in resources["limits"], "the volume has its own"


def test_a_node_group_keeps_min_copies_on_gpu_images_in_as_many_zones_as_asked() -> None:
    made = run(serving(dataclasses.replace(GPU, group=True), scale=Scale(2, 6, zones=3)))
    group = made.one("eks/nodeGroup:NodeGroup")
    assert group["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    assert group["scalingConfig"] == {"minSize": 2, "desiredSize": 2, "maxSize": 3}
    assert group["subnetIds"] == ["subnet-a", "subnet-b", "subnet-c"]
    assert group["labels"].items() <= pod(rendered(made))["nodeSelector"].items()
    assert {"vpc-cni", "kube-proxy"} <= set(made.outputs["names"]["addons"])
    without = run(serving(GPU))
    assert not without.all("eks/nodeGroup:NodeGroup")
    assert "vpc-cni" not in without.outputs["names"]["addons"]


def test_the_number_of_copies_is_the_deployments_or_the_scalers_never_both() -> None:
    fixed = rendered(run(serving(CPU, scale=Scale(3, 3))))
    assert fixed["Deployment", "primary"]["spec"]["replicas"] == 3
    assert ("HorizontalPodAutoscaler", "primary") not in fixed
    scaled = rendered(run(serving(CPU, scale=Scale(2, 6))))
    assert "replicas" not in scaled["Deployment", "primary"]["spec"]
    spec = scaled["HorizontalPodAutoscaler", "primary"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["metrics"][0]["type"]) == (2, 6, "Resource")


def test_copies_follow_requests_at_work_where_the_cluster_can_count_them() -> None:
    place = dataclasses.replace(CPU, requests_metric="llmspec_running")
    (metric,) = rendered(run(serving(place, scale=Scale(2, 6, 5))))["HorizontalPodAutoscaler", "primary"]["spec"]["metrics"]
    assert metric["pods"] == {"metric": {"name": "llmspec_running"}, "target": {"type": "AverageValue", "averageValue": "5"}}


def test_a_copy_goes_only_when_its_follower_answers_and_finishes_what_it_began() -> None:
    found = rendered(run(serving(CPU, scale=Scale(2, 2))))
    assert found["Deployment", "primary"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    container = pod(found)["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    settings = {each["name"]: each["value"] for each in container["env"]}
    assert settings["FORWARDED_ALLOW_IPS"] == "10.42.0.0/16"
    assert int(settings["LLMSPEC_STOP_SECONDS"]) <= pod(found)["terminationGracePeriodSeconds"]
    assert pod(found)["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(found)["topologySpreadConstraints"][0]["minDomains"] == 2
    assert ("PodDisruptionBudget", "primary") in found


def test_a_container_has_no_more_rights_than_it_needs() -> None:
    found = pod(rendered(run(serving(CPU))))
    assert found["securityContext"]["runAsNonRoot"] is True
    rights = found["containers"][0]["securityContext"]
    assert (rights["readOnlyRootFilesystem"], rights["capabilities"]) == (True, {"drop": ["ALL"]})


def test_the_door_speaks_tls_in_the_right_subnets_to_named_ranges() -> None:
    found = rendered(run(serving(dataclasses.replace(CPU, public=True, open_to=("192.0.2.0/24",)))))
    params = found["IngressClassParams", "bot-prod"]["spec"]
    assert params["certificateARNs"] == [CPU.certificate_arn]
    assert (params["scheme"], params["subnets"]["ids"]) == ("internet-facing", list(GROUND.public_subnet_ids))
    assert params["inboundCIDRs"] == ["192.0.2.0/24"]
    assert {"key": "llmspec:name", "value": "bot"} in params["tags"]
    ingress = found["Ingress", "endpoint"]
    assert ingress["spec"]["rules"][0]["host"] == "bot.acme.example"
    assert json.loads(ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/listen-ports"]) == [{"HTTPS": 443}]


def test_the_cluster_may_tag_the_load_balancer_that_it_makes_and_no_other() -> None:
    made = [each for place, each in run(serving(CPU)).statements() if place == "aws:iam/rolePolicy:RolePolicy eks-cluster"]
    (makes,) = (each for each in made if "elasticloadbalancing:CreateLoadBalancer" in each["Action"])
    assert {"elasticloadbalancing:CreateTargetGroup", "ec2:CreateSecurityGroup"} <= set(makes["Action"])
    asked = {"eks:eks-cluster-name": "bot-prod", "llmspec:name": "bot", "llmspec:target": "prod"}
    assert makes["Condition"] == {"StringEquals": {f"aws:RequestTag/{key}": value for key, value in asked.items()}}
    later = [each for each in made if each is not makes and "ec2:RunInstances" not in each["Action"]]
    assert {action for each in later for action in each["Action"]} >= {"elasticloadbalancing:AddTags", "ec2:CreateTags"}
    assert all(each["Condition"] == {"StringEquals": {"aws:ResourceTag/eks:eks-cluster-name": "bot-prod"}} for each in later)


def test_machines_are_in_the_budget_by_their_tags_and_another_release_is_no_reason_for_others() -> None:
    first, second = (run(serving(CPU, release=release(number))) for number in (12, 13))
    tags, later = (rendered(each)["NodeClass", "bot-prod"]["spec"]["tags"] for each in (first, second))
    assert tags.items() >= {"llmspec:name": "bot", "llmspec:target": "prod", "llmspec:stage": "endpoint"}.items()
    assert tags == later
    made = [each for place, each in first.statements() if place == "aws:iam/rolePolicy:RolePolicy eks-cluster"]
    (starts,) = (each for each in made if "ec2:RunInstances" in each["Action"])
    asked = {"eks:eks-cluster-name": "bot-prod", "llmspec:name": "bot", "llmspec:target": "prod"}
    assert starts["Condition"] == {"StringEquals": {f"aws:RequestTag/{key}": value for key, value in asked.items()}}
    assert all(each.startswith("arn:aws:ec2:eu-central-1:") for each in starts["Resource"])


def test_variants_share_the_traffic_by_their_weights() -> None:
    found = rendered(run(serving(CPU, variants=AB)))
    assert {name for kind, name in found if kind in ("Deployment", "Service")} == {"primary", "variant-2"}
    annotation = found["Ingress", "endpoint"]["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.shared"]
    groups = json.loads(annotation)["forwardConfig"]["targetGroups"]
    assert [(group["serviceName"], group["weight"]) for group in groups] == [("primary", 90), ("variant-2", 10)]


def test_the_journal_is_read_where_the_clusters_collector_puts_it() -> None:
    made = run(serving(CPU))
    found = made.all("cloudwatch/logMetricFilter:LogMetricFilter")["bot-prod-seconds"]
    assert found["logGroupName"] == "/aws/containerinsights/bot-prod/application"
    assert found["pattern"] == '{ ($.log_processed.line = "journal") && ($.log_processed.seconds >= 0) }'


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        (serving(EksArgs(certificate_arn="arn")), "eks.domain"),
        (serving(EksArgs(domain="a.example")), "HTTPS without a certificate"),
        (serving(dataclasses.replace(CPU, instance="ml.g5.xlarge")), "no instance of EC2"),
        (serving(CPU, rollout=Rollout("canary", (10, 100))), "endpoint.rollout"),
        (serving(CPU, rollout=Rollout(rollback_on=(Alarm("error_rate", ">", 0.1),))), "endpoint.rollout"),
        (serving(CPU, scale=Scale(0, 2)), "endpoint.scale.min"),
        (serving(CPU, scale=Scale(zones=1)), "two zones"),
        (serving(CPU, scale=Scale(1, 2, 8)), "does not count requests"),
        (serving(CPU, scale=Scale(2, 2, 8)), "equal min and max"),
        (serving(CPU, release=release(secrets={"A": "arn"})), "hold no secrets"),
        (serving(CPU, monitors=Monitors(second_region=SecondRegion("bot.acme.example", "b", "c"))), "known to Kubernetes only"),
    ],
)
def test_a_limit_of_the_cluster_is_said_before_anything_is_made(wanted, where) -> None:
    assert where in told(wanted)


def test_harmless_neighbours_of_those_limits_are_silent() -> None:
    for wanted in (serving(CPU), serving(GPU, scale=Scale(2, 6)), serving(CPU, variants=AB)):
        assert told(wanted) == ""
