"""A release becomes live at SageMaker, through `deploy`: moto's API, the real serving door behind InvokeEndpoint."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloud_parts import Copies, Shop, cloud_with, shop, stacks
from conftest import Project
from moto_parts import REGION
from sagemaker_parts import ALARM, Hosting, SageMakerStack

from backends.places.journal_lines import _journal
from infra_pulumi.components.duties import DUTIES
from llmspec.aws import Aws
from llmspec.cli import main
from llmspec.deploy import rollback
from llmspec.errors import PlaceError
from llmspec.infra import archive
from llmspec.release import Fleet, Release, Releases
from llmspec.stage import Product

pytestmark = pytest.mark.aws
PLACE = "{sagemaker: {instance: ml.m7i.large}}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosting]:
    """One server and its containers for all tests: a release that was started once answers for good."""
    found = Hosting()
    with cloud_with(found) as aws, ExitStack() as stack:
        found.aws = aws  # type: ignore[attr-defined]
        found.copies = Copies(aws, tmp_path_factory.mktemp("containers"), stack)
        yield found


@pytest.fixture
def hosting(front: Hosting) -> Hosting:
    """A SageMaker with nothing in it."""
    front.backend.reset()
    front.rolls_back, front.states, front.reason, front.image, front.swapped = False, [], "", "", None
    front.asked, front.failing = [], {}
    return front


@pytest.fixture
def tiny(applied_once: Project, tmp_path: Path, hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> Shop:
    stacks(monkeypatch, SageMakerStack)
    monkeypatch.setattr(SageMakerStack, "ups", 0)
    return shop(applied_once.copy(tmp_path / "shop"), hosting.aws, monkeypatch, PLACE)  # type: ignore[attr-defined]


def test_a_release_is_live_when_its_own_container_answered_whole_and_streamed(tiny: Shop, hosting: Hosting) -> None:
    hosting.states = ["Creating", "Creating"]
    done = tiny.deploy()
    assert (done.release.number, done.live.release, done.changed, tiny.pointed()) == (1, 1, True, 1)
    assert done.live.url == "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/tiny-prod/openai"
    assert [asked["verb"] for asked in hosting.asked] == ["invocations", "invocations-response-stream"]
    assert tiny.notes() == ["SageMaker says Creating"]


def test_what_is_live_is_deployed_again_without_a_change(tiny: Shop, hosting: Hosting) -> None:
    tiny.deploy()
    again = tiny.deploy()
    assert (again.changed, again.live.release, tiny.pointed()) == (False, 1, 1)
    assert len(hosting.backend.endpoint_configs) == 1


def test_a_silent_rollback_is_a_failure_and_the_pointer_stays(tiny: Shop, hosting: Hosting) -> None:
    tiny.deploy()
    alarm = {"MetricName": "x", "Namespace": "x", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0, "Statistic": "Sum"}
    watch = tiny.client("cloudwatch")
    watch.put_metric_alarm(AlarmName=ALARM, ComparisonOperator="GreaterThanThreshold", **alarm)
    watch.set_alarm_state(AlarmName=ALARM, StateValue="ALARM", StateReason="5 of 9 requests failed")
    hosting.rolls_back = True
    with pytest.raises(PlaceError) as failed:
        tiny.limit(5).deploy()
    said = str(failed.value)
    assert "release 2 is not live: SageMaker rolled it back: tiny-prod-r1-" in said
    assert f"alarms: {ALARM} (5 of 9 requests failed)" in said
    assert "release 1 still serves: https://runtime" in said
    assert "eu-central-1.console.aws.amazon.com/sagemaker/home?region=eu-central-1#/endpoints/tiny-prod" in said
    assert tiny.pointed() == 1
    hosting.rolls_back = False
    assert (tiny.deploy().live.release, tiny.pointed()) == (2, 2)


def test_a_rollout_that_outlasts_the_stack_s_own_waiting_is_waited_for_and_read(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.deploy()
    up, given_up = SageMakerStack.up, []

    def impatient(self: SageMakerStack, say: Any) -> dict[str, Any]:
        found = up(self, say)
        if not given_up:
            given_up.append(found)
            hosting.states = ["Updating", "Updating"]
            raise PlaceError("sagemaker Endpoint endpoint: timeout while waiting for state to become 'InService'")
        return found

    monkeypatch.setattr(SageMakerStack, "up", impatient)
    assert (tiny.limit(5).deploy().live.release, tiny.pointed()) == (2, 2)
    assert "SageMaker says Updating" in tiny.notes()
    given_up.clear()
    hosting.failing = {"SageMaker.DescribeEndpoint": "AccessDeniedException"}
    with pytest.raises(PlaceError, match="access denied"):
        tiny.limit(6).deploy()


def test_a_container_that_never_gets_healthy_is_told_with_sagemakers_own_reason(tiny: Shop, hosting: Hosting) -> None:
    hosting.states, hosting.reason = (
        ["Creating", "Failed", "Failed"],
        "The primary container for production variant primary did not pass",
    )
    with pytest.raises(PlaceError) as failed:
        tiny.deploy()
    assert "SageMaker says Failed: The primary container for production variant primary did not pass" in str(failed.value)
    assert "nothing is in service now" in str(failed.value)
    assert tiny.pointed() is None


def test_another_image_than_the_models_is_a_failure(tiny: Shop, hosting: Hosting) -> None:
    hosting.image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/other:1"
    with pytest.raises(PlaceError, match=r"primary runs the image .*/other:1, and its model names .*tiny-serving:1.0"):
        tiny.deploy()
    assert tiny.pointed() is None


def test_an_endpoint_whose_container_answers_as_another_release_is_not_live(tiny: Shop, hosting: Hosting) -> None:
    release = tiny.product().next_release()
    hosting.swapped = replace(release, number=7)
    with pytest.raises(PlaceError, match="primary was given release 1, and release 7"):
        tiny.deploy()
    assert tiny.pointed() is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ThrottlingException", "AWS has no room for more requests now"),
        ("ExpiredTokenException", "AWS does not accept these credentials (ExpiredTokenException)\n  sign in"),
        ("AccessDeniedException", "access denied (not now)"),
    ],
)
def test_whoever_may_not_look_is_told_so_and_not_that_nothing_is_there(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    tiny.deploy()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    hosting.failing = {"SageMaker.DescribeEndpoint": code}
    with pytest.raises(PlaceError) as failed:
        tiny.product().place("endpoint").live("tiny", "prod")
    assert said in str(failed.value)


def test_killed_between_the_stack_and_the_pointer_the_next_apply_finds_it_and_makes_nothing_twice(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Releases, "point", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.deploy()
    assert tiny.pointed() is None
    done = tiny.deploy()
    assert (done.release.number, tiny.pointed()) == (1, 1)
    assert len(hosting.backend.endpoint_configs) == len(hosting.backend._models) == len(hosting.backend.endpoints) == 1


def test_an_older_release_comes_back_as_it_was(tiny: Shop, hosting: Hosting) -> None:
    tiny.deploy()
    tiny.limit(5).deploy()
    product = tiny.product()
    done = rollback(product, product.place("endpoint"))
    assert (done.release.number, done.live.release, tiny.pointed()) == (1, 1, 1)


def test_both_sides_of_an_ab_test_are_asked_and_the_release_is_the_one_that_was_deployed(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.deploy()
    first = Product.open(tiny.project.spec, "prod").releases.live()
    assert first
    split: dict[str, tuple[Release, int]] = {"variant-2": (first, 40)}

    def shared(site: Any, release: Release) -> SageMakerStack:
        made = SageMakerStack(site, release, split)
        made.sides["primary"] = (release, 60)
        return made

    stacks(monkeypatch, shared)
    hosting.asked.clear()
    done = tiny.limit(5).deploy()
    assert (done.live.release, tiny.pointed()) == (2, 2)
    assert {asked["side"] for asked in hosting.asked} == {"primary", "variant-2"}
    hosting.backend.endpoints["tiny-prod"].production_variants[0]["CurrentWeight"] = 10
    with pytest.raises(PlaceError, match="primary has the weight 10, and 60 is configured"):
        tiny.deploy()


def test_how_many_copies_work_is_asked_of_what_scales_and_of_nothing_else(tiny: Shop, hosting: Hosting) -> None:
    place = tiny.product().place("endpoint")
    assert place.fleet() is None, "before the first release nothing is asked"
    tiny.project.edit(
        f"places: {{endpoint: {PLACE}}}", f"places: {{endpoint: {PLACE}}}\n    endpoint: {{scale: {{min: 1, max: 8}}}}"
    )
    tiny.deploy()
    endpoint = hosting.backend.endpoints["tiny-prod"]
    endpoint.production_variants[0]["CurrentInstanceCount"] = 6
    live = Fleet(endpoint.endpoint_config_name, {"primary": 1}, {"primary": 6})
    assert tiny.product().place("endpoint").fleet() == live
    tiny.project.edit("max: 8", "max: 1")
    hosting.failing = {"SageMaker.DescribeEndpoint": "AccessDeniedException"}
    assert tiny.product().place("endpoint").fleet() is None, "what has one number of copies is not asked"


def test_while_an_update_is_under_way_what_it_asked_for_is_told(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.project.edit(
        f"places: {{endpoint: {PLACE}}}", f"places: {{endpoint: {PLACE}}}\n    endpoint: {{scale: {{min: 1, max: 8}}}}"
    )
    tiny.deploy()
    said = {
        "describe_endpoint": {
            "EndpointConfigName": "tiny-prod-r1-00000000",
            "PendingDeploymentSummary": {"EndpointConfigName": "tiny-prod-r2-00000000"},
            "ProductionVariants": [{"VariantName": "primary", "CurrentInstanceCount": 4}],
        },
        "tiny-prod-r2-00000000": {"ProductionVariants": [{"VariantName": "primary", "InitialInstanceCount": 5}]},
    }
    monkeypatch.setattr(Aws, "look", lambda _, service, verb, **what: said.get(verb) or said[what["EndpointConfigName"]])
    assert tiny.product().place("endpoint").fleet() == Fleet("tiny-prod-r2-00000000", {"primary": 5}, {"primary": 4})


def test_an_asynchronous_endpoint_is_read_back_and_it_is_said_that_nobody_asked_it(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks(monkeypatch, lambda site, release: SageMakerStack(site, release, url="async-invocations"))
    assert tiny.deploy().live.release == 1
    assert hosting.asked == []
    product = tiny.product()
    folder = f"{product.store.root.uri}/{product.name}/capture"
    told = f"it was read back, and not asked: it takes files below {folder}/asked/ and answers below {folder}/answers/"
    assert told in tiny.notes()
    assert "capture" in DUTIES["endpoint"].writes, "what it writes it also reads"


def test_a_serverless_endpoint_serves_from_an_archive_that_was_made_once_and_is_asked_whole(
    tiny: Shop, hosting: Hosting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks(monkeypatch, lambda site, release: SageMakerStack(site, release, url="invocations"))
    tiny.project.edit(PLACE, "{sagemaker: {form: serverless}}")
    done = tiny.deploy()
    (model,) = hosting.backend._models.values()
    assert (done.live.release, model.primary_container["ModelDataUrl"]) == (
        1,
        archive.address(tiny.product().located(done.release)),
    )
    assert len([note for note in tiny.notes() if note.startswith("release 1 is packed into one file")]) == 1
    asked = len(tiny.aws.gate.asked)
    assert tiny.deploy().changed is False
    assert tiny.limit(5).deploy().live.release == 2, "another release of the same artifact"
    assert not [each for each in tiny.aws.gate.asked[asked:] if each.startswith(("PUT", "POST")) and ".tar.gz" in each]
    assert len([note for note in tiny.notes() if "packed" in note]) == 1
    assert main(["ask", str(tiny.project.spec), "Where is the lamp?", "--target", "prod"]) == 0
    assert capsys.readouterr().out.strip()
    assert {asked["verb"] for asked in hosting.asked} == {"invocations"}


def test_without_credentials_it_says_how_to_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceError, match=r"no credentials \(.*\)\n  sign in"):
        Aws(REGION).ask("sagemaker", "describe_endpoint", EndpointName="tiny-prod")


def test_ask_and_batch_reach_it_by_sagemakers_own_call(tiny: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny.deploy()
    file = str(tiny.project.spec)
    assert main(["ask", file, "Where is the lamp?", "--target", "prod"]) == 0
    assert capsys.readouterr().out.strip()
    body = {"messages": [{"role": "user", "content": "Where?"}], "max_tokens": 4}
    lines = [{"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions", "body": body} for at in range(3)]
    lines.append({**lines[0], "custom_id": "bad", "body": {"messages": []}})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["batch", file, str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--target", "prod"]) == 1
    said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["response"]["status_code"] for each in said] == [200, 200, 200, 400]
    assert said[0]["response"]["body"]["choices"][0]["message"]["content"]


def said(at: float, **more: Any) -> str:
    line = {"line": "journal", "time": at, "id": "one", "release": 1, "path": "/invocations", "status": 200, "seconds": 0.5}
    return json.dumps(line | {"first_token_seconds": 0.1, "prompt_tokens": 3, "answer_tokens": 4, "question": "Where?"} | more)


def test_status_and_monitors_read_the_journal_from_the_log_group(tiny: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.deploy()
    logs, group, now = tiny.client("logs"), "/aws/sagemaker/Endpoints/tiny-prod", time.time()
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    lines = [
        said(now - 7200),
        said(now - 60),
        said(now - 30, status=503),
        json.dumps({"line": "log", "message": "hello"}),
        "no json",
    ]
    times = [now - 7200, now - 60, now - 30, now - 20, now - 10]
    events = [{"timestamp": int(at * 1000), "message": line} for at, line in zip(times, lines, strict=True)]
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    for _ in range(2):  # what was brought once is not counted twice
        assert main(["status", str(tiny.project.spec), "--target", "prod", "-o", "json"]) == 0
        recent = json.loads(capsys.readouterr().out)["recent"]
        assert (recent["requests"], recent["errors"], recent["answer_tokens"]) == (2, 1, 8)
    logs.delete_log_group(logGroupName=group)
    assert main(["status", str(tiny.project.spec), "--target", "prod", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["recent"]["requests"] == 0


def test_who_may_not_read_the_journal_is_told_so_and_sees_the_rest(
    tiny: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.deploy()

    def denied(self: Aws, service: str, *about: str, **what: Any) -> Iterator[Any]:
        raise PlaceError(f"{service} in {REGION}: access denied (no leave to {about[0]})\n  whoever applies needs this permission")

    monkeypatch.setattr(Aws, "pages", denied)
    assert main(["status", str(tiny.project.spec), "--target", "prod"]) == 0
    head, journal, *_ = capsys.readouterr().out.splitlines()
    assert "● live  release 1" in head
    assert journal == "  journal      not read: logs in eu-central-1: access denied (no leave to filter_log_events)"


def test_a_line_that_an_agent_wrapped_is_a_line_of_the_journal() -> None:
    wrapped = json.dumps({"kubernetes": {}, "log_processed": json.loads(said(5.0))})
    assert _journal(wrapped) == _journal(said(5.0)) == {k: v for k, v in json.loads(said(5.0)).items() if k != "line"}


def test_a_candidate_is_refused_before_anything_is_made_for_it(tiny: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(tiny.project.spec), "--target", "prod", "--yes", "--candidate"]) == 2
    assert "sagemaker cannot serve a candidate beside what is live" in capsys.readouterr().err
    assert SageMakerStack.ups == 0


def test_stop_takes_the_stack_away_and_logs_says_where_they_are(
    tiny: Shop, hosting: Hosting, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.deploy()
    file = str(tiny.project.spec)
    assert main(["logs", file, "--target", "prod"]) == 0
    assert "log-groups/log-group/$252Faws$252Fsagemaker$252FEndpoints$252Ftiny-prod" in capsys.readouterr().out
    assert main(["stop", file, "--target", "prod"]) == 0
    assert hosting.backend.endpoints == {}
    assert "Stopped." in capsys.readouterr().out
    assert main(["stop", file, "--target", "prod"]) == 0
    assert "Nothing was running." in capsys.readouterr().out
    assert tiny.deploy().live.release == 1
