"""What watches a service: alarms, topic, filters, dashboard, health check; and what every policy and every tag has to be."""

import dataclasses
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import botocore.session
import pulumi_aws
import pytest
from pulumi.runtime import rpc
from pulumi_service_parts import GROUND, OWNER, Made, release, run, serving

from infra_pulumi.components import webhook_handler
from infra_pulumi.components.webhook_handler import post, said
from infra_pulumi.policies import wildcards
from infra_pulumi.service import PROGRAMS, faults
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.eks import EksArgs
from infra_pulumi.serving.lambda_ import LambdaArgs
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Alarm, Monitors, Notify, Rollout, Scale, Serving

SECRET = "https://chat.example/hooks/T0-very-secret"
CERTIFICATE = "arn:aws:acm:eu-central-1:111122223333:certificate/1"
ALARMS = (
    Alarm("p95_latency", ">", 1.0, 300),
    Alarm("error_rate", ">", 0.01),
    Alarm("drift", ">", 0.2),
    Alarm("canary.token_f1", "<", 0.75),
)
FULL = Monitors(every=900, alarms=ALARMS, notify=Notify("oncall@acme.example", SECRET))
CANARY = Rollout("canary", (10, 100))
CPU = SagemakerArgs(instance="ml.m5.xlarge", capture_percent=5)
EVERYTHING: dict[str, Serving] = {
    "sagemaker": serving(CPU, scale=Scale(2, 4), rollout=CANARY, monitors=FULL),
    "async": serving(SagemakerArgs(form="async", instance="ml.g5.xlarge"), scale=Scale(0, 4), monitors=FULL),
    "serverless": serving(SagemakerArgs(form="serverless", memory_mb=2048), monitors=FULL),
    "ecs": serving(EcsArgs(certificate_arn=CERTIFICATE), scale=Scale(2, 4), rollout=CANARY, monitors=FULL),
    "ecs on machines": serving(
        EcsArgs(instance="g5.xlarge", gpus=1, domain="bot.example", zone_id="Z9"),
        release=release(secrets={"KEYS": "arn:aws:x"}),
        monitors=FULL,
    ),
    "lambda": serving(LambdaArgs(candidate=True, cors=("https://a.example",)), scale=Scale(1, 9), rollout=CANARY, monitors=FULL),
    "eks": serving(EksArgs(domain="bot.example", zone_id="Z9", group=True, gpus=1, instance="g5.xlarge"), monitors=FULL),
}  # fmt: skip
PLACES = pytest.mark.parametrize("wanted", EVERYTHING.values(), ids=EVERYTHING)
_CACHE: dict[int, Made] = {}


def everything(wanted: Serving) -> Made:
    """A program is run once for the tests that only look."""
    if id(wanted) not in _CACHE:
        _CACHE[id(wanted)] = run(wanted)
    return _CACHE[id(wanted)]


def alarms_of(made: Made) -> dict[str, dict[str, Any]]:
    return made.all("cloudwatch/metricAlarm:MetricAlarm")


@PLACES
def test_each_of_the_specs_alarms_rings_in_its_own_unit_and_tells_the_topic(wanted: Serving) -> None:
    found = alarms_of(everything(wanted))
    for index, alarm in enumerate(ALARMS, 1):
        made = found[f"bot-prod-{index}-{alarm.metric}"]
        assert made["threshold"] == alarm.bound
        assert made["alarmActions"] == made["okActions"] == ["arn:aws:sns:eu-central-1:111122223333:monitoring"]
        (value,) = (query for query in made["metricQueries"] if query["returnData"])
        assert value["expression"]
    assert found["bot-prod-1-p95_latency"]["evaluationPeriods"] == found["bot-prod-1-p95_latency"]["datapointsToAlarm"] == 5


@PLACES
def test_what_comes_every_quarter_of_an_hour_stays_what_it_was_in_between(wanted: Serving) -> None:
    drift = alarms_of(everything(wanted))["bot-prod-3-drift"]
    assert drift["treatMissingData"] == "ignore"
    assert {query["metric"]["period"] for query in drift["metricQueries"] if "metric" in query} == {900}
    assert alarms_of(everything(wanted))["bot-prod-4-canary.token_f1"]["comparisonOperator"] == "LessThanThreshold"


@PLACES
def test_every_number_of_the_journal_and_of_the_monitors_has_a_filter(wanted: Serving) -> None:
    filters = everything(wanted).all("cloudwatch/logMetricFilter:LogMetricFilter")
    assert {name.removeprefix("bot-prod-") for name in filters} == {
        "seconds", "first_token_seconds", "answer_tokens", "requests", "errors", "drift", "canary.token_f1",
    }  # fmt: skip
    assert filters["bot-prod-drift"]["pattern"] == '{ $.metric = "drift" }'
    assert filters["bot-prod-drift"]["logGroupName"] == GROUND.monitors_log_group
    assert filters["bot-prod-errors"]["metricTransformation"]["value"] == "1"
    assert filters["bot-prod-errors"]["pattern"].endswith(".status >= 500) }")


@PLACES
def test_a_health_check_follows_an_alarm_that_route_53_can_follow(wanted: Serving) -> None:
    made = everything(wanted)
    check = made.one("route53/healthCheck:HealthCheck")
    assert (check["type"], check["cloudwatchAlarmName"], check["cloudwatchAlarmRegion"]) == (
        "CLOUDWATCH_METRIC",
        "bot-prod-unhealthy",
        "eu-central-1",
    )
    alarm = alarms_of(made)["bot-prod-unhealthy"]
    assert "metricQueries" not in alarm
    assert alarm["statistic"] in ("Average", "Minimum", "Maximum", "Sum", "SampleCount")
    assert alarm["period"] >= 60


@PLACES
def test_the_dashboard_shows_every_signal_with_the_line_where_it_rings(wanted: Serving) -> None:
    board = json.loads(everything(wanted).one("cloudwatch/dashboard:Dashboard")["dashboardBody"])
    shown = {widget["properties"]["title"]: widget["properties"] for widget in board["widgets"]}
    assert {"p95_latency", "error_rate", "p95_first_token", "tokens_per_second", "drift"} <= set(shown)
    assert shown["p95_latency"]["annotations"]["horizontal"][0]["value"] == 1.0
    assert "annotations" not in shown["p50_latency"]


def test_without_a_dashboard_and_without_anybody_to_tell_there_is_none() -> None:
    made = run(serving(SagemakerArgs(instance="ml.m5.xlarge"), monitors=Monitors(dashboard=False)))
    assert not made.all("cloudwatch/dashboard:Dashboard")
    assert not made.all("sns/topicSubscription:TopicSubscription")


def test_an_email_address_is_subscribed_and_a_chat_room_gets_a_function_between() -> None:
    subscriptions = everything(EVERYTHING["sagemaker"]).all("sns/topicSubscription:TopicSubscription")
    assert subscriptions["monitoring-email"]["endpoint"] == "oncall@acme.example"
    assert subscriptions["monitoring-webhook"]["protocol"] == "lambda"


@PLACES
def test_no_secret_is_in_plain_text_anywhere(wanted: Serving) -> None:
    def bare(value: Any) -> Any:
        """Everything but what Pulumi encrypts in its state."""
        if rpc.is_rpc_secret(value):
            return "…"
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items()}
        return [bare(item) for item in value] if isinstance(value, list) else value

    made = everything(wanted)
    assert SECRET not in str([bare(inputs) for _, _, inputs in made.resources])
    assert SECRET not in str(made.outputs)
    assert made.one("secretsmanager/secretVersion:SecretVersion")["secretString"] == SECRET


@PLACES
def test_no_policy_reaches_further_than_it_says_why(wanted: Serving) -> None:
    found = list(everything(wanted).statements())
    assert found
    for where, statement in found:
        assert not wildcards(statement) or statement.get("Sid"), f"{where}: {statement}"
        assert "*" not in statement["Action"], f"{where}: {statement}"
        assert not any(action.endswith(":*") for action in statement["Action"]), f"{where}: {statement}"


@PLACES
def test_every_action_is_one_that_aws_knows(wanted: Serving) -> None:
    """A misspelt action is granted silently and missed at night. What no SDK calls under that name is listed."""
    no_call = {"ecs:Poll", "ecs:StartTelemetrySession", "s3:GetObject", "s3:ListBucket", "sts:TagSession"}
    apis = {"elasticloadbalancing": "elbv2"}
    session = botocore.session.get_session()
    asked = {action for _, statement in everything(wanted).statements() for action in statement["Action"]} - no_call
    unknown = {
        f"{service}:{verb}"
        for service, verb in (action.split(":") for action in asked)
        if verb not in session.get_service_model(apis.get(service, service)).operation_names
    }
    assert unknown == set()


@PLACES
def test_services_that_say_for_whom_they_act_are_asked_and_the_others_are_not_locked_out(wanted: Serving) -> None:
    for where, statement in everything(wanted).statements():
        if "sts:AssumeRole" in statement["Action"]:
            says = statement["Principal"]["Service"] in ("ecs-tasks.amazonaws.com", "codedeploy.amazonaws.com")
            assert ("Condition" in statement) is says, where


@PLACES
def test_no_role_can_be_passed_on_or_made(wanted: Serving) -> None:
    actions = {action for _, statement in everything(wanted).statements() for action in statement["Action"]}
    assert not {action for action in actions if action.startswith("iam:")}


@PLACES
def test_everything_that_takes_tags_says_whose_it_is(wanted: Serving) -> None:
    for kind, name, inputs in everything(wanted).resources:
        if not takes_tags(kind):
            continue
        tags = inputs.get("tags")
        assert tags, f"{kind} {name} has none"
        tags = {tag["key"]: tag["value"] for tag in tags} if isinstance(tags, list) else tags
        assert OWNER.tagged(tags["llmspec:stage"]).items() <= tags.items(), f"{kind} {name}: {tags}"
        if not kind.startswith("aws:iam/role:"):
            assert tags["llmspec:release"] == "13", f"{kind} {name}: {tags}"


def takes_tags(kind: str) -> bool:
    """Asked of the SDK's own class."""
    _, module, name = kind.split(":")
    space = getattr(pulumi_aws, {"lambda": "lambda_"}.get(module.split("/")[0], module.split("/")[0]))
    return hasattr(getattr(space, name), "tags")


@PLACES
def test_nothing_is_refused_that_the_program_can_make(wanted: Serving) -> None:
    assert faults(wanted) == []


def test_an_alarm_on_what_comes_too_late_turns_no_rollout_back() -> None:
    wanted = serving(SagemakerArgs(instance="ml.m5.xlarge"), rollout=Rollout(rollback_on=(Alarm("drift", ">", 0.2),)))
    (fault,) = faults(wanted)
    assert "put it under monitors.alarms" in str(fault)


def test_an_alarm_that_looks_back_longer_than_a_day_is_refused() -> None:
    wanted = serving(SagemakerArgs(instance="ml.m5.xlarge"), monitors=Monitors(alarms=(Alarm("error_rate", ">", 0.1, 100_000),)))
    assert "one day at most" in "\n".join(map(str, faults(wanted)))


def test_every_serving_place_has_a_program_and_names_the_doors_it_needs() -> None:
    assert {type(wanted.place) for wanted in EVERYTHING.values()} == set(PROGRAMS)
    assert "secretsmanager" in PROGRAMS[EcsArgs].doors


def test_roles_stay_within_the_foundations_boundary() -> None:
    fence = "arn:aws:iam::111122223333:policy/fence"
    for wanted in EVERYTHING.values():
        made = run(dataclasses.replace(wanted, ground=dataclasses.replace(GROUND, boundary=fence)))
        outside = {name for name, role in made.all("iam/role:Role").items() if role.get("permissionsBoundary") != fence}
        assert outside == ({"eks-cluster", "eks-nodes", "eks-group"} if isinstance(wanted.place, EksArgs) else set())


def test_what_reaches_beyond_the_boundary_is_taken_on_by_aws_alone_and_ours_lets_it_only_tag() -> None:
    """What a cluster may beyond AWS's own policies: make its balancer with our tags on it, as `test_infra_service_eks` reads."""
    made = run(EVERYTHING["eks"])
    for name in ("eks-cluster", "eks-nodes", "eks-group"):
        (door,) = json.loads(made.all("iam/role:Role")[name]["assumeRolePolicy"])["Statement"]
        assert door["Principal"]["Service"] in ("eks.amazonaws.com", "ec2.amazonaws.com")
        assert (name in made.all("iam/rolePolicy:RolePolicy")) == (name == "eks-cluster")
    attached = {each["policyArn"] for each in made.all("iam/rolePolicyAttachment:RolePolicyAttachment").values()}
    assert all(arn.startswith("arn:aws:iam::aws:policy/") for arn in attached)


def test_an_alarm_becomes_a_line_for_people_and_anything_else_stays_what_it_is() -> None:
    alarm = {"NewStateValue": "ALARM", "AlarmName": "bot-prod-2-error_rate", "AlarmDescription": "error_rate > 0.01"}
    assert said(json.dumps(alarm)) == "ALARM bot-prod-2-error_rate: error_rate > 0.01"
    assert said("hello") == "hello"
    assert said('["no", "alarm"]') == '["no", "alarm"]'


def test_a_chat_room_hears_the_line_and_what_it_refuses_is_raised() -> None:
    heard: list[Any] = []

    class Room(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/room" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the test looks at what was heard."""

    server = HTTPServer(("127.0.0.1", 0), Room)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        post(f"http://127.0.0.1:{server.server_port}/room", "ALARM x")
        with pytest.raises(OSError, match="404"):
            post(f"http://127.0.0.1:{server.server_port}/gone", "ALARM x")
    finally:
        server.shutdown()
        server.server_close()
    assert heard == [{"text": "ALARM x"}, {"text": "ALARM x"}]


def test_the_function_between_runs_from_its_one_file() -> None:
    """Lambda has the file without our package: it may import nothing of ours."""
    source = Path(webhook_handler.__file__).read_text(encoding="utf-8")
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names | {"boto3"}
