"""Who watches: the trail, backups and the bill."""

import json
from typing import Any

import botocore.session
import pytest
from asked_parts import at, spec
from foundation_parts import lifecycle, small
from pulumi_parts import REGION, World

from infra_pulumi.components.audit import AuditArgs
from infra_pulumi.components.backup import BackupArgs
from infra_pulumi.components.cost import CostArgs
from llmspec.infra.asked import foundation_args


def test_every_call_and_every_object_of_the_product_is_on_the_trail(full_ground: World) -> None:
    trail = full_ground.one("cloudtrail/trail:Trail").inputs
    assert trail["isMultiRegionTrail"] is trail["enableLogFileValidation"] is True
    calls, objects = (each["fieldSelectors"] for each in trail["advancedEventSelectors"])
    assert calls == [{"field": "eventCategory", "equals": ["Management"]}]
    assert objects[-1] == {"field": "resources.ARN", "startsWiths": ["arn:aws:s3:::acme-llm/models/bot/"]}
    assert lifecycle(full_ground, "trails") == {"": 365}
    assert lifecycle(small(audit=AuditArgs(keep_days=30)), "trails") == {"": 30}


def test_no_job_and_no_deployment_may_write_trails(full_ground: World) -> None:
    touched = [
        (made.name, statement["Resource"])
        for made, statement in full_ground.statements()
        if "acme-llm-trails" in json.dumps(statement.get("Resource", "")) and made.name not in ("trails", "config")
    ]
    assert touched == []


def test_the_ai_standard_is_subscribed_to(full_ground: World) -> None:
    standards = full_ground.of("securityhub/standardsSubscription:StandardsSubscription")
    arn = standards["ai-security-best-practices"].inputs["standardsArn"]
    assert arn == f"arn:aws:securityhub:{REGION}::standards/ai-security-best-practices/v/1.0.0"


def test_what_an_account_has_once_can_be_left_alone() -> None:
    kinds = {
        made.kind.split(":")[1].split("/")[0]
        for made in small(audit=AuditArgs(config=False, security_hub=False, inspector=False)).made
    }
    assert "cloudtrail" in kinds
    assert not kinds & {"cfg", "securityhub", "inspector2"}


def test_a_product_that_goes_switches_off_nothing_that_looks_at_the_whole_account(full_ground: World) -> None:
    eyes = ("securityhub/", "inspector2/", "cfg/recorder", "cfg/deliveryChannel")
    looking = [made for made in full_ground.made if made.kind.removeprefix("aws:").startswith(eyes)]
    role = [made for made in full_ground.made if made.kind.startswith("aws:iam/") and made.name.startswith("config")]
    assert len(looking) == 7
    assert role
    assert [made.name for made in (*looking, *role) if not made.keeps] == []
    assert not any(rule.keeps for rule in full_ground.of("cfg/rule:Rule").values())


def test_config_measures_what_we_make_by_rules_once_it_records(full_ground: World) -> None:
    rules = full_ground.of("cfg/rule:Rule")
    assert {"rule-tls-only", "rule-keys-rotate", "rule-trail-on", "rule-images-scanned"} <= set(rules)
    assert all(any("RecorderStatus" in urn for urn in rule.after) for rule in rules.values())
    group = full_ground.one("cfg/recorder:Recorder").inputs["recordingGroup"]
    assert group["allSupported"] is False
    known = botocore.session.get_session().get_service_model("config").shape_for("ResourceType").enum
    assert "AWS::S3::Bucket" in group["resourceTypes"]
    assert set(group["resourceTypes"]) <= set(known)


def test_no_rule_asks_for_what_the_endpoint_s_machines_refuse() -> None:
    def rules(instance: str) -> set[str]:
        made = spec("sagemaker", at("places.endpoint.sagemaker.instance", instance), {"governance": {"audit": True}})
        return set(small(audit=foundation_args(made, "prod").audit).of("cfg/rule:Rule"))

    assert rules("ml.m7i.large") - rules("ml.g5.xlarge") == {"rule-endpoints-encrypted"}


@pytest.mark.parametrize(
    ("hours", "schedule"),
    [(24, "cron(0 3 * * ? *)"), (168, "cron(0 3 ? * MON *)"), (6, "cron(0 3/6 * * ? *)"), (1, "cron(0 0/1 * * ? *)")],
)
def test_backups_are_made_as_often_as_is_said(hours: int, schedule: str) -> None:
    (rule,) = small(backup=BackupArgs(every_hours=hours)).one("backup/plan:Plan").inputs["rules"]
    assert rule["schedule"] == schedule


def test_backups_live_as_long_as_is_said_here_and_in_the_second_region(full_ground: World) -> None:
    (rule,) = full_ground.one("backup/plan:Plan").inputs["rules"]
    assert rule["lifecycle"] == {"deleteAfter": 35}
    assert [(copy["destinationVaultArn"].split(":")[-1], copy["lifecycle"]) for copy in rule["copyActions"]] == [
        ("bot-prod-copy", {"deleteAfter": 35})
    ]
    assert full_ground.one("backup/vault:Vault", "copy").provider == "aws-eu-west-1"
    assert {
        lock.inputs["minRetentionDays"] for lock in full_ground.of("backup/vaultLockConfiguration:VaultLockConfiguration").values()
    } == {35}
    assert full_ground.one("backup/selection:Selection").inputs["resources"] == ["arn:aws:s3:::acme-llm"]


def test_without_a_second_region_and_a_lock_there_is_one_vault_that_can_be_emptied() -> None:
    world = small(backup=BackupArgs(keep_days=7, keep=False))
    assert set(world.of("backup/vault:Vault")) == {"vault"}
    assert not world.of("backup/vaultLockConfiguration:VaultLockConfiguration")
    vault = world.one("backup/vault:Vault")
    assert (vault.keeps, vault.inputs["forceDestroy"]) == (False, True)
    (rule,) = world.one("backup/plan:Plan").inputs["rules"]
    assert (rule["lifecycle"], rule.get("copyActions")) == ({"deleteAfter": 7}, [])


def test_a_budget_warns_before_it_is_spent_and_when_it_will_be() -> None:
    world = small(cost=CostArgs(500, 0.8, ("a@acme.example", "b@acme.example")))
    budget = world.one("budgets/budget:Budget").inputs
    assert (budget["limitAmount"], budget["limitUnit"], budget["timeUnit"]) == ("500.0", "USD", "MONTHLY")
    assert budget["costFilters"] == [{"name": "TagKeyValue", "values": ["user:llmspec:name$bot"]}]
    assert [(each["notificationType"], each["threshold"]) for each in budget["notifications"]] == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    assert {each.inputs["endpoint"] for each in world.of("sns/topicSubscription:TopicSubscription").values()} == {
        "a@acme.example",
        "b@acme.example",
    }


def test_an_unusual_day_is_told() -> None:
    watch = small(cost=CostArgs(500, unusual_usd=7)).one("costexplorer/anomalySubscription:AnomalySubscription").inputs
    assert watch["thresholdExpression"]["dimension"]["values"] == ["7"]
    assert watch["frequency"] == "IMMEDIATE"


def test_the_monitor_of_costs_is_written_as_aws_reads_it_back() -> None:
    written = small(cost=CostArgs(500)).one("costexplorer/anomalyMonitor:AnomalyMonitor").inputs["monitorSpecification"]
    assert json.loads(written) == {
        **dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or")),
        "Tags": {"Key": "llmspec:name", "MatchOptions": None, "Values": ["bot"]},
    }


def test_tags_are_activated_for_bills_only_when_asked(full_ground: World) -> None:
    assert {tag.inputs["tagKey"] for tag in full_ground.of("costexplorer/costAllocationTag:CostAllocationTag").values()} == {
        "llmspec:name",
        "llmspec:target",
        "llmspec:stage",
        "cost-center",
    }
    assert not small(cost=CostArgs(1)).of("costexplorer/costAllocationTag:CostAllocationTag")


@pytest.mark.parametrize("wrong", [{"monthly_usd": 0}, {"monthly_usd": 5, "warn_at": 0}, {"monthly_usd": 5, "warn_at": 1.5}])
def test_a_budget_that_warns_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="warn_at"):
        CostArgs(**wrong)
