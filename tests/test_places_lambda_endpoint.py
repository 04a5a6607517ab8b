"""A release becomes live at Lambda, through `deploy`: moto's API, CodeDeploy's work done before it, the real serving door."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud_parts import Answer, Copies, Front, Shop, as_json, cloud_with, shop, stacks
from conftest import Project
from moto.awslambda.models import lambda_backends
from moto.codedeploy.models import codedeploy_backends
from moto_parts import REGION

from backends.places import endpoint_check
from infra_pulumi.owner import Owner
from llmspec import container
from llmspec.deploy import rollback
from llmspec.errors import PlaceError
from llmspec.progress import Event
from llmspec.release import Release, Releases

pytestmark = pytest.mark.aws
ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/tiny-serving:1.0"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/tiny-function"


class Functions(Front):
    """What CodeDeploy does to an alias once it is told, and how often it is asked before it says so."""

    handled = frozenset({"CodeDeploy_20141006.GetDeployment", "CodeDeploy_20141006.CreateDeployment"})
    paths = ("/provisioned-concurrency",)

    def __init__(self) -> None:
        super().__init__()
        self.copies: Copies
        self.ways = [self.deployment, self.begun, self.warm]
        self.began = 0
        self.held: list[dict[str, Any]] = []
        """What is said of copies that are held ready, one after another; nothing is held when empty."""
        self.rolls_back = False
        self.looks = 1
        """Times that a deployment is still under way."""
        self.url = ""

    @property
    def functions(self) -> Any:
        return lambda_backends[ACCOUNT][REGION]

    @property
    def deployments(self) -> Any:
        return codedeploy_backends[ACCOUNT][REGION]

    def begun(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        self.began += target.endswith("CreateDeployment")
        return None

    def warm(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        if not path.endswith(self.paths):
            return None
        if self.held:
            return as_json({"RequestedProvisionedConcurrentExecutions": 1, **self.held.pop(0)})
        status, headers, said = as_json({"Message": "No Provisioned Concurrency Config found for this function"}, "404 Not Found")
        return status, [*headers, ("x-amzn-ErrorType", "ProvisionedConcurrencyConfigNotFoundException")], said

    def deployment(self, path: str, target: str, environ: dict[str, Any], body: bytes) -> Answer | None:
        if not target.endswith("GetDeployment"):
            return None
        found = self.deployments.deployments[json.loads(body)["deploymentId"]]
        said: dict[str, Any] = {"deploymentId": found.deployment_id, "status": "InProgress"}
        self.looks -= 1
        if self.looks < 0 and self.rolls_back:
            found.status = said["status"] = "Stopped"
            said["errorInformation"] = {"code": "ALARM_ACTIVE", "message": "tiny-prod-error-rate rang"}
            said["rollbackInfo"] = {"rollbackMessage": "the alias was led back"}
        elif self.looks < 0:
            told = json.loads(found.revision["appSpecContent"]["content"])["Resources"][0]["function"]["Properties"]
            aws = boto3.client("lambda", region_name=REGION)
            alias = aws.get_alias(FunctionName=told["Name"], Name=told["Alias"])
            assert alias["FunctionVersion"] == told["CurrentVersion"]
            aws.update_alias(FunctionName=told["Name"], Name=told["Alias"], FunctionVersion=told["TargetVersion"])
            found.status = said["status"] = "Succeeded"
        return as_json({"deploymentInfo": said})


class LambdaStack:
    """What the program of the service stack makes, by boto3: with a rollout in steps the alias is left alone once it is there."""

    stepwise = True

    def __init__(self, front: Functions, site: Any, release: Release):
        self.front, self.site, self.release = front, site, release
        self.name = Owner(site.name, site.target, site.region).prefix
        self.aws = boto3.client("lambda", region_name=site.region)

    def up(self, say: Callable[[str], None]) -> dict[str, Any]:
        told = {**container.packed(self.release), container.GRANTS: "use", container.MODEL: self.release.artifact}
        copy, where = self.front.copies.of(told), {"FunctionName": self.name}
        version = self._version(told)
        if LambdaStack.stepwise is False or not self.aws.list_aliases(**where)["Aliases"]:
            exists = self.aws.list_aliases(**where)["Aliases"]
            (self.aws.update_alias if exists else self.aws.create_alias)(**where, Name="live", FunctionVersion=version)
        names = {
            "function": self.name,
            "version": version,
            "aliases": {"live": "live"},
            "api": "api",
            "keys": {"user": self._key()},
        }
        names |= {"deployment": self._shift() if LambdaStack.stepwise else {}, "log_group": "/llmspec/tiny-prod"}
        return {"url": f"{self.front.url or copy.url}/v1", "names": names}

    def _version(self, told: dict[str, str]) -> str:
        """Lambda publishes another one only for what differs."""
        where, environment = {"FunctionName": self.name}, {"Variables": told}
        if self.name not in [each["FunctionName"] for each in self.aws.list_functions()["Functions"]]:
            code: dict[str, Any] = {"Code": {"ImageUri": IMAGE}, "PackageType": "Image", "Role": ROLE, "Publish": True}
            return str(self.aws.create_function(**where, **code, Environment=environment)["Version"])
        for each in self.aws.list_versions_by_function(**where)["Versions"]:
            if each["Version"] != "$LATEST" and each["Environment"] == environment:
                return str(each["Version"])
        self.aws.update_function_configuration(**where, Environment=environment)
        return str(self.aws.publish_version(**where)["Version"])

    def _key(self) -> str:
        api = boto3.client("apigateway", region_name=REGION)
        known = [each["id"] for each in api.get_api_keys()["items"] if each["name"] == self.name]
        return str(known[0] if known else api.create_api_key(name=self.name, enabled=True, value="a-key-of-twenty-letters")["id"])

    def _shift(self) -> dict[str, str]:
        deploy = boto3.client("codedeploy", region_name=REGION)
        if self.name not in deploy.list_applications()["applications"]:
            deploy.create_application(applicationName=self.name, computePlatform="Lambda")
            group = {"applicationName": self.name, "deploymentGroupName": self.name, "serviceRoleArn": ROLE}
            deploy.create_deployment_group(**group)
        return {"application": self.name, "group": self.name}

    def destroy(self, say: Callable[[str], None]) -> None:
        self.aws.delete_function(FunctionName=self.name)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    found = Functions()
    with cloud_with(found) as aws, ExitStack() as stack:
        found.copies = Copies(aws, tmp_path_factory.mktemp("containers"), stack)
        trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": REGION, "endpoint_url": aws.url}
        boto3.client("iam", **keys).create_role(RoleName="tiny-function", AssumeRolePolicyDocument=json.dumps(trust))
        yield found


@pytest.fixture
def functions(front: Functions, monkeypatch: pytest.MonkeyPatch) -> Functions:
    """A Lambda with nothing in it, and little patience."""
    front.functions.reset()
    front.deployments.reset()
    front.began, front.looks, front.rolls_back, front.url, front.failing, front.held = 0, 1, False, "", {}, []
    monkeypatch.setattr(LambdaStack, "stepwise", True)
    monkeypatch.setattr(endpoint_check, "PATIENCE_SECONDS", 0.3)
    return front


@pytest.fixture
def tiny(applied_once: Project, tmp_path: Path, functions: Functions, monkeypatch: pytest.MonkeyPatch) -> Shop:
    stacks(monkeypatch, lambda site, release: LambdaStack(functions, site, release))
    return shop(applied_once.copy(tmp_path / "shop"), functions.copies.aws, monkeypatch, "{lambda: {memory: 2GB}}")


def test_a_first_release_is_live_when_the_alias_leads_to_it_and_it_answered_with_a_key(tiny: Shop, functions: Functions) -> None:
    done = tiny.deploy()
    assert (done.live.release, tiny.pointed(), functions.began) == (1, 1, 0)
    place = tiny.product().place("endpoint")
    assert place.live("tiny", "prod") == done.live
    assert place.headers(done.live) == {"x-api-key": "a-key-of-twenty-letters"}


def test_the_next_release_gets_its_traffic_by_codedeploy(tiny: Shop, functions: Functions) -> None:
    tiny.deploy()
    assert (tiny.limit(5).deploy().live.release, tiny.pointed(), functions.began) == (2, 2, 1)
    assert "CodeDeploy moves the traffic from version 1 to 2" in tiny.notes()
    assert tiny.deploy().changed is False
    assert functions.began == 1


def test_without_steps_the_stack_itself_moves_the_alias(tiny: Shop, functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LambdaStack, "stepwise", False)
    tiny.deploy()
    assert (tiny.limit(5).deploy().live.release, functions.began) == (2, 0)


def test_an_alarm_that_stops_the_rollout_is_a_failure_and_the_pointer_stays(tiny: Shop, functions: Functions) -> None:
    tiny.deploy()
    functions.rolls_back = True
    with pytest.raises(PlaceError) as failed:
        tiny.limit(5).deploy()
    said = str(failed.value)
    assert (
        "release 2 is not live: CodeDeploy says Stopped (ALARM_ACTIVE): tiny-prod-error-rate rang; the alias was led back" in said
    )
    assert "release 1 still serves" in said
    assert "console.aws.amazon.com/codesuite/codedeploy/deployments/" in said
    assert tiny.pointed() == 1
    functions.rolls_back, functions.looks = False, 0
    assert (tiny.deploy().live.release, tiny.pointed()) == (2, 2)


def test_an_alias_that_was_led_back_silently_is_a_failure(
    tiny: Shop, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.deploy()
    monkeypatch.setattr(LambdaStack, "stepwise", None)  # nobody moves it
    with pytest.raises(PlaceError, match=r"its version is 2, and live leads to version 1 \(release 1\): it was rolled back"):
        tiny.limit(5).deploy()
    assert tiny.pointed() == 1


def test_a_version_that_lambda_cannot_start_is_told_with_its_reason(
    tiny: Shop, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.awslambda.models import LambdaFunction

    plain = LambdaFunction.get_configuration

    def failed(self: Any, *args: Any, **more: Any) -> Any:
        return {**plain(self, *args, **more), "State": "Failed", "StateReason": "The image manifest is not supported"}

    monkeypatch.setattr(LambdaFunction, "get_configuration", failed)
    with pytest.raises(PlaceError, match=r"Lambda says Failed: The image manifest is not supported\n  nothing is in service now"):
        tiny.deploy()
    assert tiny.pointed() is None


class EndsAt(list[Event]):
    """Who hears this ends the command."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def append(self, event: Event) -> None:
        if event.facts.get("text") == self.text:
            raise KeyboardInterrupt


def test_killed_while_codedeploy_is_at_work_the_next_apply_waits_for_that_one(
    tiny: Shop, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.deploy()
    tiny.limit(5)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    functions.looks = 2
    with pytest.raises(KeyboardInterrupt):
        replace(tiny, heard=EndsAt("CodeDeploy says InProgress")).deploy()
    with monkeypatch.context() as patch:
        patch.setattr(Releases, "point", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.deploy()
    assert (tiny.pointed(), functions.began) == (1, 1)
    assert (tiny.deploy().live.release, tiny.pointed(), functions.began) == (2, 2, 1)


def test_copies_that_are_held_ready_are_waited_for_and_their_lack_is_told(tiny: Shop, functions: Functions) -> None:
    ready = {"Status": "READY", "AvailableProvisionedConcurrentExecutions": 1}
    functions.held = [{"Status": "IN_PROGRESS", "AvailableProvisionedConcurrentExecutions": 0}, ready]
    assert tiny.deploy().live.release == 1
    assert "0 of 1 copies are ready" in tiny.notes()
    functions.held = [{"Status": "FAILED", "StatusReason": "The account has no room for them"}]
    with pytest.raises(PlaceError, match="Lambda holds no copies ready: The account has no room for them"):
        tiny.limit(5).deploy()
    assert tiny.pointed() == 1


def test_an_older_release_comes_back(tiny: Shop, functions: Functions) -> None:
    tiny.deploy()
    tiny.limit(5).deploy()
    functions.looks = 0
    product = tiny.product()
    assert rollback(product, product.place("endpoint")).live.release == 1
    assert tiny.pointed() == 1
