"""A release becomes live at ECS, through `deploy`: moto's API, and the real serving door as the copy that answers."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud_parts import Copies, Front, Shop, cloud_with, shop, stacks
from conftest import Project
from moto.ecs.models import ecs_backends
from moto_parts import REGION

from backends.places import endpoint_check
from infra_pulumi.owner import Owner
from llmspec import container
from llmspec.cli import main
from llmspec.errors import PlaceError
from llmspec.release import Release, Releases

pytestmark = pytest.mark.aws
ACCOUNT = "123456789012"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/one"
NAMED = f"domain: bot.shop.example, certificate: '{CERTIFICATE}'"
PLACE = f"{{ecs: {{cpu: 1, memory: 2GB, public: true, open_to: [203.0.113.0/24], {NAMED}}}}}"


class Cluster(Front):
    """What ECS does by itself, and moto does not: it brings up what a service asks for, or puts back what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: Copies
        self.rolls_back = False
        self.starts = True
        self.names: dict[str, str] = {}
        """What the stack says besides."""
        self.url = ""
        """Answers in place of the copy that was asked for."""

    @property
    def backend(self) -> Any:
        return ecs_backends[ACCOUNT][REGION]

    def settle(self, service: str, wanted: str) -> None:
        found = self.backend.services[service]
        (primary,) = found.deployments
        primary |= {"updatedAt": datetime.datetime.now(datetime.UTC), "runningCount": 1, "rolloutState": "COMPLETED"}
        if self.rolls_back:
            primary["rolloutStateReason"] = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
            found.events = [
                {"id": "1", "createdAt": primary["updatedAt"], "message": "(service primary) failed container health checks."}
            ]
        elif not self.starts:
            primary |= {"runningCount": 0, "rolloutState": "FAILED", "taskDefinition": wanted}
            primary["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
        else:
            primary["taskDefinition"] = wanted


class EcsStack:
    """What the program of the service stack makes, by boto3."""

    def __init__(self, cluster: Cluster, site: Any, release: Release):
        self.cluster, self.site, self.release = cluster, site, release
        self.owner = Owner(site.name, site.target, site.region)
        self.aws = boto3.client("ecs", region_name=site.region)

    def up(self, say: Callable[[str], None]) -> dict[str, Any]:
        name, where = self.owner.prefix, {"cluster": self.owner.prefix}
        told = {**container.packed(self.release), container.GRANTS: "use", container.MODEL: self.release.artifact}
        copy = self.cluster.copies.of(told)
        self.aws.create_cluster(clusterName=name)
        task = self._task(told)
        if f"{name}:primary" in self.cluster.backend.services:
            self.aws.update_service(**where, service="primary", taskDefinition=task)
        else:
            tags = [{"key": key, "value": value} for key, value in self.owner.tagged("endpoint", self.release.number).items()]
            self.aws.create_service(
                **where, serviceName="primary", taskDefinition=task, desiredCount=1, launchType="FARGATE", tags=tags
            )
        self.cluster.settle(f"{name}:primary", task)
        names = {"cluster": name, "services": {"primary": "primary"}, "tasks": {"primary": task}, "log_group": "/llmspec/tiny-prod"}
        return {"url": f"{self.cluster.url or copy.url}/v1", "names": names | self.cluster.names}

    def _task(self, told: dict[str, str]) -> str:
        """Pulumi registers another one only for what differs."""
        environment = [{"name": key, "value": value} for key, value in sorted(told.items())]
        server = {"name": "server", "image": "tiny-serving:1.0", "memory": 2048, "environment": environment, "command": ["serve"]}
        for arn in self.aws.list_task_definitions(familyPrefix="tiny-prod-primary")["taskDefinitionArns"]:
            known = self.aws.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"][0]
            if known["environment"] == environment:
                return str(arn)
        made = self.aws.register_task_definition(family="tiny-prod-primary", containerDefinitions=[server])
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def destroy(self, say: Callable[[str], None]) -> None:
        self.aws.delete_service(cluster=self.owner.prefix, service="primary", force=True)
        self.aws.delete_cluster(cluster=self.owner.prefix)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster()
    with cloud_with(found) as aws, ExitStack() as stack:
        found.copies = Copies(aws, tmp_path_factory.mktemp("containers"), stack)
        yield found


@pytest.fixture
def cluster(front: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """An ECS with nothing in it, and little patience."""
    front.backend.reset()
    front.rolls_back, front.starts, front.url, front.failing = False, True, "", {}
    front.names = {}
    monkeypatch.setenv("MOTO_ECS_SERVICE_RUNNING", "1")
    monkeypatch.setattr(endpoint_check, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(endpoint_check, "PRIVATE_SECONDS", 0.3)
    return front


@pytest.fixture
def tiny(applied_once: Project, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Shop:
    stacks(monkeypatch, lambda site, release: EcsStack(cluster, site, release))
    return shop(applied_once.copy(tmp_path / "shop"), cluster.copies.aws, monkeypatch, PLACE)


def test_a_release_is_live_when_its_task_is_the_primary_one_and_a_copy_answered(tiny: Shop) -> None:
    done = tiny.deploy()
    assert (done.live.release, done.changed, tiny.pointed()) == (1, True, 1)
    assert tiny.product().place("endpoint").live("tiny", "prod") == done.live
    assert tiny.deploy().changed is False


def test_a_rollback_by_the_circuit_breaker_is_a_failure_with_ecs_own_words(tiny: Shop, cluster: Cluster) -> None:
    tiny.deploy()
    cluster.rolls_back = True
    with pytest.raises(PlaceError) as failed:
        tiny.limit(5).deploy()
    said = str(failed.value)
    assert "release 2 is not live: ECS rolled it back: tiny-prod-primary:1 is served, and not tiny-prod-primary:2" in said
    assert "circuit breaker: rolling back" in said
    assert "failed container health checks" in said
    assert "release 1 still serves" in said
    assert "console.aws.amazon.com/ecs/v2/clusters/tiny-prod/services" in said
    assert tiny.pointed() == 1
    cluster.rolls_back = False
    assert (tiny.deploy().live.release, tiny.pointed()) == (2, 2)


def test_all_at_once_is_refused_while_the_copies_stand_where_steps_led(tiny: Shop, cluster: Cluster) -> None:
    balancing, ground = boto3.client("elbv2", region_name=REGION), boto3.client("ec2", region_name=REGION)
    subnets = ground.describe_subnets()["Subnets"][:2]
    where = {"Protocol": "HTTP", "Port": 8080, "VpcId": subnets[0]["VpcId"], "TargetType": "ip"}
    blue, green = (
        balancing.create_target_group(Name=f"tiny-{side}", **where)["TargetGroups"][0]["TargetGroupArn"]
        for side in ("blue", "green")
    )
    made = balancing.create_load_balancer(Name="tiny", Subnets=[each["SubnetId"] for each in subnets])["LoadBalancers"][0]
    first = [{"Type": "forward", "TargetGroupArn": blue}]
    listener = balancing.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=first)

    def led(to_green: int) -> list[dict[str, object]]:
        groups = [{"TargetGroupArn": blue, "Weight": 100 - to_green}, {"TargetGroupArn": green, "Weight": to_green}]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    everything = [{"Field": "path-pattern", "Values": ["/*"]}]
    listening = listener["Listeners"][0]["ListenerArn"]
    rule = balancing.create_rule(ListenerArn=listening, Priority=1, Conditions=everything, Actions=led(100))["Rules"][0]["RuleArn"]
    cluster.names = {"rule": rule, "green": green}
    tiny.deploy()
    with pytest.raises(PlaceError, match=r"all_at_once would take them away first\n  let one more release go live in steps"):
        tiny.limit(5).deploy()
    assert tiny.pointed() == 1
    balancing.modify_rule(RuleArn=rule, Actions=led(0))
    assert (tiny.deploy().live.release, tiny.pointed()) == (2, 2)


def test_copies_that_do_not_start_are_told_and_nothing_is_live(tiny: Shop, cluster: Cluster) -> None:
    cluster.starts = False
    with pytest.raises(PlaceError, match=r"ECS gave it up: .*tasks failed to start\.\n  nothing is in service now"):
        tiny.deploy()
    assert tiny.pointed() is None
    assert tiny.product().place("endpoint").live("tiny", "prod") is None


def test_a_balancer_behind_which_another_release_answers_is_a_failure(tiny: Shop, cluster: Cluster) -> None:
    release = replace(tiny.product().next_release(), number=7)
    told = {**container.packed(release), container.GRANTS: "use", container.MODEL: release.artifact}
    cluster.url = cluster.copies.of(told).url
    with pytest.raises(PlaceError, match=r"release 7 answers at .*, and not 1"):
        tiny.deploy()
    assert tiny.pointed() is None


def test_a_public_endpoint_that_nobody_reaches_is_a_failure_and_a_private_one_is_the_platforms_word(
    tiny: Shop, cluster: Cluster
) -> None:
    cluster.url = "http://127.0.0.1:9"
    with pytest.raises(PlaceError, match="cannot be reached from here"):
        tiny.deploy()
    assert tiny.pointed() is None
    tiny.project.edit("public: true", "public: false")
    assert tiny.deploy().live.release == 1
    assert "it is private and was not asked from here: the platform says that its copies are healthy" in tiny.notes()


def test_killed_between_the_stack_and_the_pointer_the_next_apply_finds_the_same(
    tiny: Shop, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Releases, "point", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.deploy()
    assert tiny.pointed() is None
    assert (tiny.deploy().release.number, tiny.pointed()) == (1, 1)
    assert len(cluster.backend.task_definitions["tiny-prod-primary"]) == 1


def test_whoever_may_not_look_is_told_so(tiny: Shop, cluster: Cluster) -> None:
    tiny.deploy()
    cluster.failing = {"AmazonEC2ContainerServiceV20141113.DescribeServices": "AccessDeniedException"}
    with pytest.raises(PlaceError, match="ecs:DescribeServices in eu-central-1: access denied"):
        tiny.product().place("endpoint").live("tiny", "prod")


def test_ask_reaches_it_and_stop_takes_it_away(tiny: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.deploy()
    file = str(tiny.project.spec)
    assert main(["ask", file, "Where is the lamp?", "--target", "prod"]) == 0
    assert main(["stop", file, "--target", "prod"]) == 0
    assert "Stopped." in capsys.readouterr().out
    assert tiny.product().place("endpoint").live("tiny", "prod") is None
