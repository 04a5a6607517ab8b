"""From the spec to what the Pulumi programs are asked for: no option about AWS is ignored, and no secret is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked_parts import BASE, CERTIFICATE, PLACES, PROVIDER, SECRET, SPECS, Here, asked, at, ground, release, spec
from foundation_parts import trusted
from pulumi_parts import World, made_by
from pulumi_service_parts import run

from infra_pulumi.components.network import SERVICES
from infra_pulumi.foundation import FoundationArgs, foundation
from infra_pulumi.service import PROGRAMS
from infra_pulumi.serving.lambda_ import LambdaArgs
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Serving
from llmspec import network, registry
from llmspec.container import GRANTS, unpacked
from llmspec.errors import PlaceError
from llmspec.infra import archive, stacks
from llmspec.infra.asked import foundation_args, serving
from llmspec.load import load
from llmspec.release import Fleet, Releases
from llmspec.section import Section
from llmspec.site import Site
from llmspec.spec import Spec
from llmspec.spec.governance import Governance
from llmspec.spec.monitors import Notify
from llmspec.spec.traffic import Rollout, Scale

# key of the spec -> at which place, another value, and where in the arguments it is found (f: foundation, s: service)
CHANGES: dict[str, tuple[str, Any, str]] = {
    "name": ("ecs", "shop", "f.owner.name"),
    "owner": ("ecs", "team:search", "f.owner.tags"),
    "tags": ("ecs", {"cost-center": "cx-42"}, "s.owner.tags"),
    "store": ("ecs", "s3://acme-other/x", "f.storage.bucket"),
    "region": ("ecs", "eu-west-1", "f.owner.region"),
    "governance.audit": ("ecs", True, "f.audit"),
    "governance.audit.config": ("ecs", False, "f.audit.config"),
    "governance.audit.security_hub": ("ecs", False, "f.audit.security_hub"),
    "governance.audit.inspector": ("ecs", False, "f.audit.inspector"),
    "governance.retention.data": ("ecs", "365d", "f.storage.retention_days"),
    "governance.retention.journal": ("ecs", "7d", "f.logs.journal_days"),
    "governance.backup.every": ("ecs", "12h", "f.backup.every_hours"),
    "governance.backup.keep": ("ecs", "50d", "f.backup.keep_days"),
    "governance.backup.copy_to": ("ecs", "eu-west-1", "f.backup.copy_to"),
    "governance.nat_gateways": ("ecs", 2, "f.network.nat_gateways"),
    "governance.replicate_to": ("ecs", "eu-west-1", "f.storage.replicate_to"),
    "governance.budget.monthly": ("ecs", "250 USD", "f.cost.monthly_usd"),
    "governance.budget.warn_at": ("ecs", 0.5, "f.cost.warn_at"),
    "governance.budget.activate_tags": ("ecs", True, "f.cost.activate_tags"),
    "governance.deploy.github": ("ecs", "acme/other", "f.identity.deploy.repository"),
    "governance.deploy.environment": ("ecs", "live", "f.identity.deploy.environment"),
    "governance.deploy.owner_id": ("ecs", 7, "f.identity.deploy.owner_id"),
    "governance.deploy.repository_id": ("ecs", 8, "f.identity.deploy.repository_id"),
    "governance.deploy.provider": ("ecs", PROVIDER, "f.identity.deploy.provider_arn"),
    "endpoint.scale.min": ("ecs", 2, "s.scale.min"),
    "endpoint.scale.max": ("ecs", 9, "s.scale.max"),
    "endpoint.scale.concurrency_per_copy": ("ecs", 4, "s.scale.concurrency_per_copy"),
    "endpoint.scale.zones": ("ecs", 3, "f.network.zones"),
    "endpoint.rollout.strategy": ("ecs", "linear", "s.rollout.strategy"),
    "endpoint.rollout.steps": ("ecs", [20, 100], "s.rollout.steps"),
    "endpoint.rollout.wait": ("ecs", "10m", "s.rollout.wait"),
    "endpoint.rollout.rollback_on": ("ecs", ["error_rate > 5%"], "s.rollout.rollback_on"),
    "endpoint.journal.keep": ("ecs", "7d", "s.log_days"),
    "endpoint.limits.requests_per_minute": ("lambda", 90, "s.place.plans"),
    "endpoint.cors": ("lambda", ["https://shop.example"], "s.place.cors"),
    "endpoint.access.keys": ("lambda", "cognito", "f.access"),
    "endpoint.system_prompt": ("ecs", "Be brief.", "s.release.environment"),
    "monitors.every": ("ecs", "30m", "s.monitors.every"),
    "monitors.alarms": ("ecs", ["error_rate > 3%"], "s.rollout.rollback_on"),
    "monitors.notify.email": ("ecs", "a@b.example", "f.cost.notify"),
    "monitors.notify.webhook": ("ecs", "${secret.HOOK}", "s.monitors.notify.webhook"),
    "monitors.dashboards": ("ecs", ["cloudwatch"], "s.monitors.dashboard"),
    "sagemaker.instance": ("sagemaker", "ml.g5.xlarge", "s.place.instance"),
    "sagemaker.network_isolation": ("sagemaker", False, "s.place.isolated"),
    "sagemaker.form": ("sagemaker", "async", "s.place.form"),
    "sagemaker.memory": ("serverless", "4GB", "s.place.memory_mb"),
    "sagemaker.capture_percent": ("sagemaker", 5, "s.place.capture_percent"),
    "ecs.cpu": ("ecs", 4, "s.place.cpu"),
    "ecs.memory": ("ecs", "10GB", "s.place.memory_mb"),
    "ecs.instance": ("ecs", "g5.xlarge", "f.network.services"),
    "ecs.gpus": ("ecs", 1, "s.place.gpus"),
    "ecs.disk": ("ecs", "60GB", "s.place.disk_gb"),
    "ecs.public": ("ecs", True, "f.network.public_subnets"),
    "ecs.open_to": ("ecs", ["10.1.0.0/16"], "s.place.open_to"),
    "ecs.certificate": ("ecs", CERTIFICATE, "s.place.certificate_arn"),
    "ecs.domain": ("ecs", "other.acme.example", "s.place.domain"),
    "ecs.zone": ("ecs", "Z9999999999ABCDEFGHIJ", "s.place.zone_id"),
    "ecs.failover": ("ecs", "bot-dr.elb.eu-west-1.amazonaws.com", "s.monitors.second_region"),
    "lambda.memory": ("lambda", "6GB", "s.place.memory_mb"),
    "lambda.timeout": ("lambda", "3m", "s.place.timeout_seconds"),
    "lambda.disk": ("lambda", "3GB", "s.place.disk_mb"),
    "eks.instance": ("eks", "m7i.2xlarge", "s.place.instance"),
    "eks.gpus": ("eks", 1, "s.place.gpus"),
    "eks.cpu": ("eks", 3, "s.place.cpu"),
    "eks.memory": ("eks", "10GB", "s.place.memory"),
    "eks.disk": ("eks", "30GB", "s.place.disk"),
    "eks.version": ("eks", "1.36", "s.place.version"),
    "eks.public": ("eks", True, "s.place.public"),
    "eks.open_to": ("eks", ["10.1.0.0/16"], "s.place.open_to"),
    "eks.domain": ("eks", "other.acme.example", "s.place.domain"),
    "eks.certificate": ("eks", CERTIFICATE, "s.place.certificate_arn"),
    "eks.zone": ("eks", "Z9999999999ABCDEFGHIJ", "s.place.zone_id"),
    "emr.release": ("emr", "emr-spark-8.0.0", "f.data.release_label"),
    "emr.cpu": ("emr", 2, "f.data.max_memory_gb"),
    "emr.memory": ("emr", "20GB", "f.data.max_memory_gb"),
    "emr.max_vcpu": ("emr", 32, "f.data.max_vcpu"),
}  # fmt: skip
BESIDE: dict[str, Any] = {
    "endpoint.scale.min": {"endpoint": {"scale": {"max": 9}}},
    "endpoint.scale.concurrency_per_copy": {"endpoint": {"scale": {"max": 9}}},
    "endpoint.rollout.steps": {"endpoint": {"rollout": {"strategy": "canary"}}},
    "endpoint.rollout.wait": {"endpoint": {"rollout": {"strategy": "canary"}}},
    "ecs.public": {"places": {"endpoint": {"ecs": {"open_to": ["203.0.113.0/24"]}}}},
    "eks.public": {"places": {"endpoint": {"eks": {"open_to": ["203.0.113.0/24"]}}}},
    "ecs.gpus": {"places": {"endpoint": {"ecs": {"instance": "g5.xlarge"}}}},
    **{f"governance.audit.{one}": {"governance": {"audit": {}}} for one in ("config", "security_hub", "inspector")},
    "governance.deploy.provider": {"governance": {"deploy": {"github": "acme/bot"}}},
    "governance.deploy.environment": {"governance": {"deploy": {"github": "acme/bot"}}},
    "governance.deploy.owner_id": {"governance": {"deploy": {"github": "acme/bot", "repository_id": 8}}},
    "governance.deploy.repository_id": {"governance": {"deploy": {"github": "acme/bot", "owner_id": 7}}},
}
"""What has to be said as well, on both sides of the comparison; numbers that prove only together are told on one."""
OF_JOBS = {"sagemaker.spot", "sagemaker.max_runtime", "sagemaker.volume", "ecs.max_runtime", "emr.workers", "emr.max_runtime"}
"""A job's own: the place tells AWS when it starts one, and no stack knows of it."""
OTHERS = {"governance.waive.check", "governance.waive.reason"}
"""Of `validate`, which builds nothing."""


def found(args: tuple[FoundationArgs, Serving], where: str) -> Any:
    which, _, path = where.partition(".")
    value: Any = args[0] if which == "f" else args[1]
    for name in path.split("."):
        value = getattr(value, name) if value is not None else None
    return value


@pytest.mark.parametrize("key", CHANGES)
def test_each_word_of_the_spec_about_aws_reaches_its_argument(key: str) -> None:
    place, value, where = CHANGES[key]
    card = key.partition(".")[0]
    told = at(
        f"places.endpoint.{key}"
        if card in ("sagemaker", "ecs", "lambda", "eks")
        else f"places.data.{key}"
        if card == "emr"
        else key,
        value,
    )
    beside = BESIDE.get(key, {})
    both = key.endswith(("owner_id", "repository_id"))
    before, after = spec(place, {} if both else beside), spec(place, beside, told)
    assert found(asked(before), where) != found(asked(after), where)


def fields(section: type[Section], path: str) -> Iterator[str]:
    """Each option, by the path that a spec writes."""
    for name, field in section.model_fields.items():
        kinds = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)]
        inner = next((kind for kind in kinds if issubclass(kind, Section)), None)
        yield from fields(inner, f"{path}.{name}") if inner else [f"{path}.{name}"]


def test_no_option_about_aws_is_missing_in_that_table() -> None:
    sections = {"governance": Governance, "endpoint.scale": Scale, "endpoint.rollout": Rollout, "monitors.notify": Notify}
    listed = {each for path, section in sections.items() for each in fields(section, path)}
    listed |= {f"{name}.{option}" for name, card in registry.places() if card.cloud == "aws" for option in card.model_fields}
    assert listed - set(CHANGES) - OF_JOBS - OTHERS == set()


def test_what_an_account_takes_one_of_is_left_alone_where_the_spec_says_that_it_is_there() -> None:
    once = ("cfg/recorder:Recorder", "securityhub/account:Account", "inspector2/enabler:Enabler")
    github = "iam/openIdConnectProvider:OpenIdConnectProvider"

    def world(governance: dict[str, Any]) -> World:
        return made_by(lambda: foundation(foundation_args(spec("sagemaker", {"governance": governance}), "prod")))

    first = world({"audit": True, "deploy": {"github": "acme/bot"}})
    assert [kind for kind in (*once, github) if not first.of(kind)] == []
    there = {"config": False, "security_hub": False, "inspector": False}
    second = world({"audit": there, "deploy": {"github": "acme/bot", "provider": PROVIDER}})
    assert [kind for kind in (*once, github) if second.of(kind)] == []
    assert second.of("cloudtrail/trail:Trail")
    assert trusted(second, "deploy")[0]["Principal"]["Federated"] == PROVIDER


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_for_aws_makes_both_argument_sets_without_a_fault(path: Path) -> None:
    loaded = load(path, "prod", env={})
    args, wanted = asked(loaded.spec)
    assert args.owner == wanted.owner
    assert type(wanted.place) in PROGRAMS
    assert unpacked(wanted.release.environment).number == wanted.release.number == 1
    doors = {door for program in PROGRAMS.values() for door in program.doors} | {*SERVICES, "bedrock-runtime"}
    assert set(network.doors(loaded.spec)) <= doors


def test_a_variant_is_a_release_of_the_store_and_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    made = spec("ecs", {"endpoint": {"variants": [{"release": 1, "weight": 90}, {"release": 2, "weight": 10}]}})
    Here.folder = tmp_path
    with pytest.raises(PlaceError, match="there is no release 2 of bot at prod"):
        asked(made, Here)
    Releases(Here(made, "prod", tmp_path).store.below("bot/endpoint/prod")).add(release(made, 2))
    sides = asked(made, Here)[1].sides()
    assert [(side.release.number, side.weight) for side in sides.values()] == [(1, 90), (2, 10)]
    assert unpacked(sides["variant-2"].release.environment).number == 2


def test_products_whose_names_read_alike_are_told_apart_before_one_changes_the_others_stacks(tmp_path: Path) -> None:
    made = Spec.model_validate({**BASE, "name": "shop-eu", "places": {"endpoint": "sagemaker"}})
    Here.folder = tmp_path
    later = Here(made, "prod", tmp_path)
    assert stacks.standing(later, "foundation").name == "shop-eu-prod-foundation"
    earlier = Here(made.model_copy(update={"name": "shop"}), "eu-prod", tmp_path)
    earlier.found({})
    assert stacks.standing(earlier, "foundation").name == "shop-eu-prod-foundation"
    with pytest.raises(PlaceError, match="would have the names, and the stacks, of shop at eu-prod in AWS"):
        stacks.standing(later, "foundation")


def test_a_secret_reaches_the_program_as_a_secret_and_stands_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec("sagemaker", {"monitors": {"notify": {"webhook": "${secret.HOOK}"}}})
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(PlaceError, match="secret HOOK is not set"):
        serving(Site(made, "prod", Path("bot.yaml")), release(made), ground(made))
    wanted = asked(made)[1]
    assert wanted.monitors.notify.webhook == SECRET
    assert SECRET not in repr(wanted)
    sealed = [(kind, inputs) for kind, _, inputs in run(wanted).resources if SECRET in json.dumps(inputs, default=str)]
    (version,) = sealed
    assert version[0] == "aws:secretsmanager/secretVersion:SecretVersion"
    assert set(version[1]["secretString"]) > {"value"}, "wrapped, as Pulumi keeps secrets"
    world: World = made_by(lambda: foundation(foundation_args(made, "prod")))
    assert SECRET not in json.dumps([each.inputs for each in world.made], default=str)


def test_nothing_is_built_that_nobody_uses() -> None:
    lone = Spec.model_validate({**BASE, "places": {"model": "sagemaker"}})
    args = foundation_args(lone, "prod")
    assert (args.network, args.events, args.data, args.audit, args.access) == (None, None, None, None, None)
    assert args.identity.kinds == ("training", "build")
    assert asked(spec("lambda"))[0].network is not None
    assert asked(spec("lambda"))[0].network.services == ()  # type: ignore[union-attr]
    assert asked(spec("serverless"))[0].network is None


def test_who_may_ask_is_said_by_the_platform_wherever_a_container_has_no_keys() -> None:
    assert asked(spec("ecs"))[1].release.environment[GRANTS] == asked(spec("eks"))[1].release.environment[GRANTS] == "use"
    assert GRANTS not in asked(spec("sagemaker"))[1].release.environment


def test_a_serverless_endpoint_is_led_to_the_archive_that_is_made_before_it_and_the_others_to_the_folder() -> None:
    made = spec("serverless")
    (container,) = [inputs["primaryContainer"] for kind, _, inputs in run(asked(made)[1]).resources if kind.endswith("model:Model")]
    assert container["modelDataUrl"] == archive.address(release(made))
    assert container["modelDataUrl"].startswith("s3://acme-llm/bots/bot/onnx/")
    assert asked(spec("sagemaker"))[1].release.archive == asked(spec("ecs"))[1].release.archive == ""


def test_where_people_sign_in_the_pool_that_the_foundation_gives_out_guards_every_method_of_the_api() -> None:
    made = spec("lambda", at("endpoint.access.keys", "cognito"), at("endpoint.cors", ["https://shop.example"]))
    world: World = made_by(lambda: foundation(foundation_args(made, "prod")))
    assert set(world.of("cognito/userGroup:UserGroup")) == {"admin", "developer", "user"}
    assert world.one("cognito/userPool:UserPool").inputs["adminCreateUserConfig"] == {"allowAdminCreateUserOnly": True}
    given = {**ground(made), "user_pool_arn": world.exports["user_pool_arn"]}
    api = run(serving(Site(made, "prod", Path("bot.yaml")), release(made), given))
    (pool,) = api.one("apigateway/authorizer:Authorizer")["providerArns"]
    assert pool == world.exports["user_pool_arn"]
    methods = {each["httpMethod"]: each for each in api.all("apigateway/method:Method").values()}
    assert (methods["ANY"]["authorization"], methods["ANY"]["apiKeyRequired"]) == ("COGNITO_USER_POOLS", True)
    assert methods["ANY"]["authorizerId"]
    assert methods["OPTIONS"]["authorization"] == "NONE", "a browser's question names nobody"
    function = api.one("lambda/function:Function")["environment"]["variables"]
    assert function[GRANTS] == "use", "the same for whoever signed in"


def test_without_that_word_there_are_no_users_and_without_users_no_api_is_made_that_wants_them() -> None:
    assert asked(spec("lambda"))[0].access is None
    assert run(asked(spec("lambda"))[1]).one("apigateway/method:Method")["authorization"] == "NONE"
    made = spec("lambda", at("endpoint.access.keys", "cognito"))
    given = {name: value for name, value in ground(made).items() if name != "user_pool_arn"}
    with pytest.raises(PlaceError, match=r"no users yet.*\n  build it: llmspec apply bot.yaml --target prod"):
        serving(Site(made, "prod", Path("bot.yaml")), release(made), given)


def test_sizes_are_what_aws_calls_them() -> None:
    function, wide = (
        asked(spec("lambda", at("places.endpoint.lambda.memory", "10.24GB")))[1].place,
        asked(spec("serverless"))[1].place,
    )
    assert isinstance(function, LambdaArgs)
    assert isinstance(wide, SagemakerArgs)
    assert (function.memory_mb, wide.memory_mb, wide.instance) == (10_240, 2048, "")


def test_alarms_of_the_monitors_turn_a_rollout_back_where_a_place_can() -> None:
    turned = {place: [alarm.metric for alarm in asked(spec(place))[1].rollout.rollback_on] for place in PLACES}
    assert turned == {**{place: ["error_rate"] for place in PLACES}, "lambda": [], "eks": [], "serverless": []}


@pytest.mark.parametrize("place", ["sagemaker", "ecs", "lambda", "eks"])
def test_the_journal_goes_from_the_log_into_the_store(place: str) -> None:
    made = run(asked(spec(place))[1])
    filters = made.all("cloudwatch/logSubscriptionFilter:LogSubscriptionFilter")
    assert {name.rpartition("-")[2] for name in filters} == {"journal", "engagement"}
    at_line = "$.log_processed" if place == "eks" else "$"
    assert (
        filters["monitoring-delivery-journal"]["filterPattern"]
        == f'{{ ({at_line}.line = "journal") && ({at_line}.feedback NOT EXISTS) }}'
    )
    assert filters["monitoring-delivery-engagement"]["destinationArn"].endswith("deliverystream/bot-prod-engagement")
    counted = made.all("cloudwatch/logMetricFilter:LogMetricFilter")["bot-prod-requests"]
    assert {each["logGroup"] for each in filters.values()} == {counted["logGroupName"]}


def test_the_stack_is_asked_for_with_the_copies_that_work_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec("sagemaker", at("endpoint.scale", {"min": 1, "max": 8}))
    monkeypatch.setattr(Here, "folder", tmp_path)
    site, asked_for, fleet = (
        Here(made, "prod", Path("bot.yaml")),
        list[Serving](),
        Fleet("bot-prod-r1-1a2b3c4d", {}, {"primary": 6}),
    )
    site.found(ground(made))
    monkeypatch.setattr("infra_pulumi.service.service", asked_for.append)
    monkeypatch.setattr("backends.places.sagemaker.SageMaker.fleet", lambda _: fleet)
    stacks.service_stack(site, release(made)).program()
    assert [each.fleet for each in asked_for] == [fleet]
