"""What belongs to this machine belongs to one product at one target, also where their names read alike."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmspec.audit import Trail
from llmspec.errors import LockedError
from llmspec.home import access_folder, journal_folder, run_folder
from llmspec.keys import Keys


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def elder(home: Path) -> Path:
    """The endpoint of `shop` at `eu-prod`, which had the folders of `shop-eu` at `prod`."""
    Keys(home / "access" / "shop-eu-prod").create("ana", "user")
    for folder in ("journal/shop-eu-prod", "run/shop-eu-prod", "run/shop-eu-prod@candidate"):
        (home / folder).mkdir(parents=True)
    (home / "journal" / "shop-eu-prod" / "journal.jsonl").write_text("{}\n")
    (home / "run" / "shop-eu-prod" / "lock").touch()
    (home / "run" / "shop-eu-prod" / "state.json").write_text(json.dumps({"spec": "shop", "target": "eu-prod"}))
    return home / "run" / "shop-eu-prod"


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """As its supervisor holds it."""
    with (folder / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("folder", [run_folder, journal_folder, access_folder])
def test_products_whose_names_and_targets_read_alike_share_no_folder(home: Path, folder) -> None:
    alike = [("shop", "eu-prod-a"), ("shop-eu", "prod-a"), ("shop-eu-prod", "a")]
    assert len({folder(name, target) for name, target in alike}) == 3


def test_elder_folders_become_the_products_own_also_after_a_crash_midway(elder: Path, home: Path) -> None:
    (home / "access" / "shop-eu-prod").rename(home / "access" / "shop.eu-prod")  # and the process was killed
    assert run_folder("shop", "eu-prod", candidate=True).is_dir()
    assert (journal_folder("shop", "eu-prod") / "journal.jsonl").exists()
    assert [key.name for key in Keys(access_folder("shop", "eu-prod")).all()] == ["ana"]
    assert [entry["event"] for entry in Trail(access_folder("shop", "eu-prod")).entries()] == ["key created"]
    assert not elder.exists()


def test_whoever_comes_first_a_key_opens_only_the_product_that_it_was_made_for(elder: Path) -> None:
    assert not Keys(access_folder("shop-eu", "prod")).configured()
    assert [key.name for key in Keys(access_folder("shop", "eu-prod")).all()] == ["ana"]


def test_what_is_served_goes_on_in_its_elder_folders_and_nobody_else_gets_them(elder: Path) -> None:
    with served(elder):
        assert run_folder("shop", "eu-prod") == elder
        assert Keys(access_folder("shop", "eu-prod")).configured()
        with pytest.raises(LockedError, match=r"shop at eu-prod is still served from it\n  stop that once, .*--target eu-prod"):
            access_folder("shop-eu", "prod")
    assert run_folder("shop", "eu-prod") != elder


def test_keys_of_which_nothing_tells_the_owner_still_keep_others_out(home: Path) -> None:
    Keys(home / "access" / "shop-eu-prod").create("ana", "user")
    for name, target in (("shop", "eu-prod"), ("shop-eu", "prod")):
        assert [key.name for key in Keys(access_folder(name, target)).all()] == ["ana"]
