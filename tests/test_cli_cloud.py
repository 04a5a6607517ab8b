"""What apply asks itself before it changes the cloud: whether data would be lost, and whether a saved plan still holds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Project
from moto_parts import REGION, Moto, aws
from product_in_aws_parts import BUCKET, PROD, spec
from test_policy import CLEAN

from llmspec.cli.cloud import left, put_back, same_cloud, spared
from llmspec.cli.plan import Found
from llmspec.errors import BlockedError, DeclinedError, StaleError
from llmspec.infra.change import CloudChange
from llmspec.infra.stack import Held
from llmspec.infra.told import budget_lines
from llmspec.infra.wanted import Wanted
from llmspec.load import load
from llmspec.release import Live
from llmspec.stage import Product

__all__ = ["aws"]
URN = "urn:pulumi:bot-prod-foundation::llmspec::aws:s3/bucket:Bucket::store"
LOST = CloudChange("replace", "aws:s3/bucket:Bucket", "store", URN, ("bucket",), ("bucket",))


def cloud(*changes: CloudChange) -> Wanted:
    return Wanted("foundation", "bot-prod-foundation", list(changes))


def test_a_yes_that_was_given_beforehand_loses_no_data_until_that_is_said_too() -> None:
    with pytest.raises(BlockedError) as told:
        spared(cloud(LOST), yes=True, lose_data=False)
    assert str(told.value) == (
        "s3 Bucket store would be lost with every object in it: bucket cannot be changed in place\n"
        "  if that is meant: add --lose-data"
    )
    spared(cloud(LOST), yes=True, lose_data=True)
    spared(cloud(LOST), yes=False, lose_data=False)  # somebody has read the plan, which says it, and agreed


def test_what_is_kept_or_only_changed_is_no_loss() -> None:
    kept = CloudChange("replace", LOST.type, "store", URN, ("bucket",), ("bucket",), kept=True)
    spared(cloud(kept, CloudChange("update", LOST.type, "store", URN, ("tags",))), yes=True, lose_data=False)


def test_a_saved_plan_holds_while_the_cloud_would_change_in_the_same_way() -> None:
    update = CloudChange("update", LOST.type, "store", URN, ("tags",))
    saved = json.loads(json.dumps({"cloud": [cloud(update).to_dict()]}))
    same_cloud(cloud(update), saved)
    for other in ((), (LOST,), (update, LOST), (CloudChange("update", LOST.type, "store", URN, ("tags", "acl")),)):
        with pytest.raises(StaleError, match="in the cloud something else would change by now\n  plan again, with --out"):
            same_cloud(cloud(*other), saved)


def test_a_service_that_was_changed_by_hand_is_served_again_once_somebody_agrees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [CloudChange("delete", "aws:cloudwatch/metricAlarm:MetricAlarm", "bot-prod-1-error_rate")]
    served: list[str] = []

    def serve(release: str) -> Live:
        served.append(release)
        return Live("https://bot.example", 7, 0, 0.0)

    place = SimpleNamespace(site=None, serve=serve)
    releases = SimpleNamespace(live=lambda: "release 7")

    @contextmanager
    def deploying(_: object) -> Iterator[None]:
        releases.live = lambda: "release 6"  # somebody rolled back while this was asked
        yield

    made = {"place": lambda _: place, "releases": releases, "located": lambda release: f"{release}, located"}
    product = cast(Product, SimpleNamespace(name="bot", deploying=deploying, **made))
    monkeypatch.setattr("llmspec.cli.cloud.standing", lambda *_: SimpleNamespace(drift=lambda: changed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    with pytest.raises(DeclinedError, match=r"Nothing was put back\."):
        put_back(product, agreed=False)
    assert "! service      cloudwatch MetricAlarm bot-prod-1-error_rate is gone in AWS" in capsys.readouterr().out
    assert served == []
    assert put_back(product, agreed=True)
    assert served == ["release 6, located"]
    assert "as it was made; release 7 answers: https://bot.example" in capsys.readouterr().out
    changed.clear()
    assert not put_back(product, agreed=True)
    releases.live = lambda: None
    assert not put_back(product, agreed=True)
    assert len(served) == 1


def test_what_stays_is_told_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    place = SimpleNamespace(site=SimpleNamespace(region=REGION))
    monkeypatch.setattr("llmspec.cli.cloud.standing", lambda *_: SimpleNamespace(tags={}))
    monkeypatch.setattr("llmspec.cli.cloud.strays", lambda *_: [])
    made = [
        Held(LOST.type, "store", "acme", "arn:s3", True),
        Held("aws:inspector2/enabler:Enabler", "inspector", "i", "arn:i", True),
    ]
    made += [Held("aws:iam/role:Role", "build", "build", "arn:iam", False)]
    assert left(cast(Product, SimpleNamespace(place=lambda _: place)), {"foundation": made}) == [
        "  = arn:s3  stays: it holds what cannot be made again",
        "  = arn:i  stays: it may serve others in this account",
    ]


@pytest.mark.parametrize(("said", "told"), [("", True), (", activate_tags: false", False), (", activate_tags: true", False)])
def test_a_budget_that_aws_cannot_count_yet_says_what_is_to_do(tmp_path: Path, said: str, told: bool) -> None:
    (tmp_path / "shop.yaml").write_text(CLEAN.replace("500 USD", f"500 USD{said}"))
    spec = load(str(tmp_path / "shop.yaml"), "prod").spec
    assert spec.governance
    assert spec.governance.budget
    text, markdown = "".join(budget_lines(spec)), "".join(budget_lines(spec, markdown=True))
    assert ("the tag llmspec:name is activated" in text) == ("Cost allocation tags" in markdown) == told
    product: Any = SimpleNamespace(spec=spec)
    stack = Wanted("foundation", "shop-prod-foundation")
    assert ("AWS counts $0" in "".join(Found(product, cast("Any", None), [stack]).cloud_lines())) == told


def test_a_plan_that_compared_nothing_says_nothing_of_the_cloud() -> None:
    listed = Wanted("foundation", "bot-prod-foundation", [LOST], compared=False)
    same_cloud(cloud(), json.loads(json.dumps({"cloud": [listed.to_dict()]})))
    same_cloud(cloud(LOST), {"fingerprint": "0" * 64})


def test_a_saved_plan_of_one_stage_asks_nothing_for_those_that_nobody_selected(aws: Moto, tmp_path: Path) -> None:
    """The endpoint is pending and cannot be served without the CLI; `data` can be made without it."""
    aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.s3.put_object(Bucket=BUCKET, Key="llm/tiny/foundation/prod.json", Body=b"{}")
    project = Project(tmp_path, {**aws.env, "PATH": str(tmp_path)}).write(spec())
    project.run("plan", *PROD, "--select", "data", "--out", "data.json")
    done = project.run("apply", *PROD, "--plan", "data.json")
    assert "The foundation stands and is not compared: the Pulumi CLI is not installed here." in done.stderr
    assert "Done in" in done.stdout
    refused = project.run("apply", *PROD, "--yes", check=False)
    assert refused.returncode == 1
    assert "the Pulumi CLI is not installed here\n  get it:" in refused.stderr
