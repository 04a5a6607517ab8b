"""What apply asks itself before it changes the cloud: whether data would be lost, and whether a saved plan still holds."""

import json

import pytest

from llmspec.cli.cloud import same_cloud, spared
from llmspec.errors import BlockedError, StaleError
from llmspec.infra.change import CloudChange
from llmspec.infra.wanted import Wanted

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


def test_a_plan_that_compared_nothing_says_nothing_of_the_cloud() -> None:
    listed = Wanted("foundation", "bot-prod-foundation", [LOST], compared=False)
    same_cloud(cloud(), json.loads(json.dumps({"cloud": [listed.to_dict()]})))
    same_cloud(cloud(LOST), {"fingerprint": "0" * 64})
