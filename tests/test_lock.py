"""Whoever finds a lock held, or cannot make one, is told what is being done there and what to do."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from llmspec import copies
from llmspec import store as store_module
from llmspec.errors import LockedError, StoreError
from llmspec.lock import holder, locked, signature
from llmspec.shelf import Folder
from llmspec.store import Artifact, Manifest, Store


@contextmanager
def held(path: Path) -> Iterator[None]:
    """As another process holds it: through a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(signature())
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_product_that_is_locked_is_being_applied(tmp_path: Path) -> None:
    with (
        held(tmp_path / "shop" / ".lock"),
        pytest.raises(LockedError, match=r"^shop is being applied by .*, process "),
        Folder(tmp_path / "shop").lock(".lock"),
    ):
        pytest.fail("it was held")


def test_nobody_waits_for_a_training_to_change_what_is_live_or_to_look_at_it(tmp_path: Path) -> None:
    store = Store(Folder(tmp_path))
    with held(tmp_path / "shop" / ".lock"):
        for doing in ("deployed", "monitored"):
            with store.lock_at("shop", "prod", doing, pytest.fail):
                assert "process" in holder(tmp_path / "shop" / f".{doing}-prod.lock")


def test_what_is_being_deployed_is_deployed_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SWAP_SECONDS", 0.0)
    with (
        held(tmp_path / "shop" / ".deployed-prod.lock"),
        pytest.raises(LockedError, match=r"^shop is being deployed by .*, process "),
        Store(Folder(tmp_path)).lock_at("shop", "prod", "deployed", lambda _: None),
    ):
        pytest.fail("it was held")


def test_who_waited_for_a_lock_that_went_with_its_product_still_keeps_others_out(tmp_path: Path) -> None:
    shop, waits, holds, ends = Folder(tmp_path / "shop"), threading.Event(), threading.Event(), threading.Event()

    def next_one() -> None:
        with shop.lock(".lock", wait=60, waiting=lambda _: waits.set()):
            holds.set()
            ends.wait(60)

    applying = threading.Thread(target=next_one)
    with held(shop.path / ".lock"):
        applying.start()
        assert waits.wait(60)
        shop.clear()  # as `destroy --artifacts` does
    assert holds.wait(60)
    with (shop.path / ".lock").open("a") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ends.set()
    applying.join()


def test_a_stage_whose_copy_is_locked_is_being_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    monkeypatch.setattr(copies, "WAIT_SECONDS", 0.0)
    elsewhere = Artifact(cast("Any", None), Manifest("shop", "onnx", "k", "d", "e", 1, {}, {}, {}, {}, {}))
    with (
        held(tmp_path / "copies" / "shop" / "onnx" / ".lock"),
        pytest.raises(LockedError, match=r"^onnx of shop is being copied to this machine by "),
    ):
        copies.copied(elsewhere)


def test_a_folder_that_cannot_be_written_is_named_with_what_names_another(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file, so no folder")
    with pytest.raises(StoreError) as told, Folder(tmp_path / "shop").lock(".lock"):
        pytest.fail("there is no folder")
    assert str(told.value) == f"cannot write to {tmp_path}/shop: File exists\n  free or mount it, or name another `store:`"
    with (
        pytest.raises(StoreError, match=r"or name another folder in LLMSPEC_HOME$"),
        locked(tmp_path / "shop" / ".lock", "it is made"),
    ):
        pytest.fail("there is no folder")
