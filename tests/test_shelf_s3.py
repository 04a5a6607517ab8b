"""A shelf in S3 keeps what a shelf promises: pointers that nobody overwrites, artifacts that are whole, one holder of a lock."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspec import copies, retention, s3_files, s3_lease
from llmspec.errors import DamagedError, LockedError, MovedError, StoreError
from llmspec.job import Job
from llmspec.release import Release, Releases
from llmspec.s3 import Bucket
from llmspec.shelf import File, Folder, Shelf, files_in, partial, sha256_of, shelf_at
from llmspec.shelf_s3 import S3Shelf
from llmspec.store import Artifact, Manifest, Store, content_digest, open_artifact

if TYPE_CHECKING:
    from moto_parts import Moto

pytestmark = pytest.mark.aws
pytest_plugins = ["moto_parts"]

# What a shelf promises, of both forms


@pytest.fixture(params=["folder", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, aws_here: Moto) -> Shelf:
    return Folder(tmp_path / "store") if request.param == "folder" else shelf_at(f"s3://{aws_here.bucket()}/a/b", tmp_path)


def test_of_two_who_move_a_pointer_the_second_hears_that_it_lost(shelf: Shelf) -> None:
    releases = Releases(shelf)
    for number in (1, 2, 3):
        releases.add(Release(number, "bot", "local", "", "", str(number), "", {}))
    releases.point(Release(1, "bot", "local", "", "", "1", "", {}), "", releases.seen())
    mine = theirs = releases.seen()
    releases.point(Release(2, "bot", "local", "", "", "2", "", {}), "", theirs)
    with pytest.raises(MovedError, match=r"live\.json was moved by somebody else meanwhile\n  apply again"):
        releases.point(Release(3, "bot", "local", "", "", "3", "", {}), "", mine)
    live, before = releases.live(), releases.before()
    assert live
    assert before
    assert (live.number, before.number) == (2, 1)
    assert [release.number for release in releases.all()] == [1, 2, 3]


def test_of_two_releases_with_one_number_the_second_is_refused(shelf: Shelf) -> None:
    shelf.write("000001.json", "theirs", over="")
    with pytest.raises(MovedError):
        shelf.write("000001.json", "mine", over="")
    assert shelf.read("000001.json") == "theirs"


def released(releases: Releases, *numbers: int) -> None:
    """Each was live, one after the other."""
    for number in numbers:
        release = releases.add(Release(number, "bot", "local", "", "", str(number), "", {}))
        releases.point(release, f"2026-01-{number:02d}", releases.seen())


def test_of_a_move_that_was_killed_between_two_releases_nothing_is_lost(shelf: Shelf) -> None:
    left, root = Store(shelf.below("left")), shelf.below("root")
    released(left.releases("bot", "local"), 1, 2)
    store = Store(root, (left.root,))
    first = left.root.read("bot/endpoint/local/000001.json")
    assert first
    root.write("bot/endpoint/local/000001.json", first)  # and here it was killed
    releases = store.releases("bot", "local")
    assert releases.at.uri.startswith(left.root.uri)
    releases.copy_to(root.below("bot/endpoint/local"))
    here = store.releases("bot", "local")
    assert here.at == root.below("bot/endpoint/local"), "the same in both: there is nothing more to copy"
    live, before = here.live(), here.before()
    assert live
    assert before
    assert (live.number, before.number) == (2, 1)


def test_a_candidate_that_was_dismissed_after_a_move_does_not_come_back_from_the_earlier_store(shelf: Shelf) -> None:
    first, second = shelf.below("first"), shelf.below("second")
    here = Store(first).releases("bot", "local")
    released(here, 1)
    here.nominate(here.add(Release(2, "bot", "local", "", "", "2", "", {})), "2026-01-03")
    moved = Store(second, (first,))
    moved.releases("bot", "local").copy_to(second.below("bot/endpoint/local"))
    moved.releases("bot", "local").dismiss("2026-01-04")
    assert moved.releases("bot", "local").at == second.below("bot/endpoint/local")
    assert moved.releases("bot", "local").candidate() is None


def test_a_store_that_is_come_back_to_gets_the_releases_made_since_and_no_candidate_of_then(shelf: Shelf) -> None:
    first, second = shelf.below("first"), shelf.below("second")
    released(Store(first).releases("bot", "local"), 1, 2)
    tried = Release(3, "bot", "local", "", "", "3", "", {})
    Store(first).releases("bot", "local").nominate(Store(first).releases("bot", "local").add(tried), "2026-01-03")
    moved = Store(second, (first,))
    moved.releases("bot", "local").copy_to(second.below("bot/endpoint/local"))
    released(moved.releases("bot", "local"), 3, 4)  # the candidate became live, and then came another
    moved.releases("bot", "local").dismiss("2026-01-05")
    back = Store(first, (second,))
    assert back.releases("bot", "local").at == second.below("bot/endpoint/local")
    back.releases("bot", "local").copy_to(first.below("bot/endpoint/local"))
    here = back.releases("bot", "local")
    assert here.at == first.below("bot/endpoint/local")
    assert [release.number for release in here.all()] == [1, 2, 3, 4]
    live, before = here.live(), here.before()
    assert live
    assert before
    assert (live.number, before.number, here.candidate()) == (4, 3, None)


def made(folder: Path, files: dict[str, bytes], key: str = "k") -> Artifact:
    """An artifact in a folder, of these bytes."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    known = {name: File(sha256_of(folder / name), len(content)) for name, content in files.items()}
    return Artifact(Folder(folder), Manifest("bot", "onnx", key, content_digest(known), "e", 1, {}, {}, {}, known, {}))


def test_old_rows_go_and_what_is_live_anywhere_stays_with_what_it_was_made_from(shelf: Shelf) -> None:
    """Made in 2026-01: 'old' is nobody's, 'base' is below what is live at prod, 'tried' below a candidate, 'new' is a head."""

    def put(stage: str, key: str, finished: str = "2026-01-01T00:00:00+00:00", folder: str = "", **inputs: str) -> None:
        manifest = Manifest("bot", stage, key, f"digest of {key}", "e", 1, {}, inputs, {}, {}, {}, finished=finished)
        at = shelf.below(f"bot/{stage}/{folder or key}")
        at.write("rows.parquet", "rows")
        at.write("manifest.json", manifest.to_json())

    for key in ("old", "base", "tried", "new"):
        put("data", key)
        put("features", f"ids-{key}", data=f"digest of {key}")
        put("model", f"model-{key}", features=f"digest of ids-{key}")
        put("onnx", f"onnx-{key}", model=f"digest of model-{key}", features=f"digest of ids-{key}")
        put("evaluation", f"scores-{key}", onnx=f"digest of onnx-{key}", data=f"digest of {key}")
    put("data", "young", "2026-06-02T00:00:00+00:00")
    put("data", "new", folder="new.damaged")
    shelf.write("bot/data/dev.head", "new\n")
    shelf.write("bot/features/dev.head", "ids-new\n")
    for target, key, point in (("prod", "base", "live"), ("dev", "tried", "candidate")):
        releases = Releases(shelf.below(f"bot/endpoint/{target}"))
        release = releases.add(Release(1, "bot", target, "", f"onnx-{key}", key, "", {}, f"scores-{key}"))
        releases.point(release, "") if point == "live" else releases.nominate(release, "")
    gone = retention.remove(Store(shelf), "bot", datetime(2026, 6, 1, tzinfo=UTC))
    assert [artifact.uri.rpartition("/")[2] for artifact in gone] == ["new.damaged", "old", "ids-old"]
    left = {name.rpartition("/")[0] for name in shelf.below("bot").sizes()}
    assert {"data/base", "data/tried", "data/new", "data/young", "features/ids-base", "features/ids-tried"} <= left
    assert not {"data/old", "features/ids-old", "data/new.damaged"} & left
    assert {"model/model-old", "onnx/onnx-old", "evaluation/scores-old"} <= left  # none of them holds rows
    assert retention.remove(Store(shelf), "bot", datetime(2026, 6, 1, tzinfo=UTC)) == []


def test_rows_of_a_job_that_died_go_too_once_they_are_old(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    for age in ("old", "young"):
        job = Job("bot", "data", "e", 1, "", {}, {"age": age}, {}, output=shelf.below(f"bot/data/{age}").uri)
        rows = partial(copies.grows_at(job)) / "train.parquet"
        rows.parent.mkdir(parents=True)
        rows.write_text(age)
        if age == "old":
            os.utime(rows, (0, 0))
            os.utime(rows.parent, (0, 0))
    retention.remove(Store(shelf), "bot", datetime.now(UTC) - timedelta(days=1))
    assert [found.read_text() for found in tmp_path.rglob("train.parquet")] == ["young"]


def test_what_is_put_again_leaves_nothing_of_what_was_there(shelf: Shelf, tmp_path: Path) -> None:
    copies.send(made(tmp_path / "one", {"a.txt": b"1", "old/b.txt": b"2", "empty": b""}), shelf)
    copies.send(made(tmp_path / "two", {"a.txt": b"3"}), shelf)
    found = open_artifact(shelf)
    assert found
    assert found.whole()
    assert found.verify().content("a.txt") == b"3"
    assert set(shelf.sizes()) == {"a.txt", "manifest.json"}
    shelf.set_aside()
    assert open_artifact(shelf) is None
    shelf.writable()
    assert shelf.read("never") is None


# S3 alone


@pytest.fixture
def bucket(aws_here: Moto) -> Bucket:
    return Bucket(aws_here.bucket())


def test_killed_just_before_it_gets_its_name_an_artifact_has_grown_no_part_that_is_not_its_own(tmp_path: Path) -> None:
    grown = tmp_path / "k.partial"
    grown.mkdir()
    (grown / "rows.parquet").write_text("rows")
    killed = """
import os, signal, sys
from pathlib import Path
from llmspec.shelf import complete
sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "os.rename" else None)
complete(Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(""), "{}")
"""
    assert subprocess.run([sys.executable, "-c", killed, str(grown)]).returncode == -signal.SIGKILL
    assert list(files_in(grown)) == ["rows.parquet"]


def test_a_large_file_goes_up_in_parts_and_goes_on_where_it_was_cut_off(bucket: Bucket, aws_here: Moto, tmp_path: Path) -> None:
    artifact = made(tmp_path / "made", {"weights": random.Random(7).randbytes(20 * s3_files.MIB + 5), "small": b"x"})
    shelf = S3Shelf(bucket, "bot/onnx/k/")
    with aws_here.gate.closed(lambda asked: "partNumber=2" in asked), pytest.raises(StoreError, match="access denied"):
        copies.send(artifact, shelf)
    assert open_artifact(shelf) is None
    aws_here.gate.asked.clear()
    copies.send(artifact, shelf)
    numbers = [asked.partition("partNumber=")[2][0] for asked in aws_here.gate.asked if "partNumber" in asked]
    assert "2" in numbers
    assert len(numbers) < 3, "the parts that had arrived were not sent again"
    assert "Uploads" not in aws_here.s3.list_multipart_uploads(Bucket=bucket.name), "none is left open, at a cost"
    aws_here.gate.asked.clear()
    copies.send(artifact, shelf)
    assert [asked for asked in aws_here.gate.asked if asked.startswith(("PUT", "POST")) and "manifest" not in asked] == []
    found = open_artifact(shelf)
    assert found
    assert copies.copied(found.verify()).verify().manifest == artifact.manifest


def test_a_sum_that_s3_keeps_gives_damage_away_without_a_download(bucket: Bucket, aws_here: Moto, tmp_path: Path) -> None:
    shelf = S3Shelf(bucket, "bot/onnx/k/")
    copies.send(made(tmp_path / "made", {"a": b"right"}), shelf)
    aws_here.s3.put_object(Bucket=bucket.name, Key="bot/onnx/k/a", Body=b"wrong", ChecksumAlgorithm="SHA256")
    found = open_artifact(shelf)
    assert found
    aws_here.gate.asked.clear()
    with pytest.raises(DamagedError, match=r"s3://.*/bot/onnx/k/a: not as its manifest says"):
        found.verify()
    assert not [asked for asked in aws_here.gate.asked if asked.startswith("GET")]


def test_an_object_that_lost_its_end_is_damaged(bucket: Bucket, aws_here: Moto, tmp_path: Path) -> None:
    shelf = S3Shelf(bucket, "bot/onnx/k/")
    copies.send(made(tmp_path / "made", {"a": b"right"}), shelf)
    aws_here.s3.put_object(Bucket=bucket.name, Key="bot/onnx/k/a", Body=b"rig")
    found = open_artifact(shelf)
    assert found
    assert not found.whole()
    with pytest.raises(DamagedError, match=r"s3://.*/bot/onnx/k/a: not as its manifest says"):
        found.verify()


def test_a_copy_that_is_damaged_here_is_fetched_again(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    shelf = S3Shelf(bucket, "bot/onnx/k/")
    artifact = made(tmp_path / "made", {"a": b"right", "deep/b": b"too"})
    copies.send(artifact, shelf)
    folder = copies.at_hand(shelf.uri)
    (folder / "a").write_bytes(b"wrong")
    assert copies.at_hand(shelf.uri) == folder
    assert (folder / "a").read_bytes() == b"right"


def test_what_is_not_there_is_named_and_an_output_in_a_folder_is_that_folder(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no complete artifact"):
        copies.at_hand(f"s3://{bucket.name}/bot/onnx/k")
    job = Job("bot", "onnx", "e", 1, "", {}, {}, {}, output=str(tmp_path))
    assert copies.grows_at(job) == tmp_path
    assert copies.unsent(job) is None


# The lock


def dead_elsewhere(bucket: Bucket) -> None:
    who = {"user": "ana", "host": "laptop", "pid": 41, "since": "2026-01-01", "token": "t", "here": "another machine"}
    bucket.put("bot/.lock", json.dumps(who).encode())


def test_a_lock_held_on_another_machine_names_its_holder_and_is_taken_over_once_its_lease_ended(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    shelf = S3Shelf(bucket, "bot/")
    dead_elsewhere(bucket)
    with pytest.raises(LockedError, match="bot is being applied by ana@laptop, process 41"), shelf.lock(".lock"):
        pytest.fail("it was held")
    monkeypatch.setattr(s3_lease, "LEASE_SECONDS", -1.0)  # by S3's clock any age is longer than that
    monkeypatch.setattr(s3_lease.Lease, "_keep", lambda *_: None)
    with shelf.lock(".lock"), shelf.lock(".lock"):
        assert json.loads(bucket.get("bot/.lock")[0])["pid"] != 41
    assert bucket.sizes("") == {}


def robbed_of_its_lock(bucket: Bucket) -> None:
    with S3Shelf(bucket, "bot/").lock(".lock"):
        (keeper,) = (thread for thread in threading.enumerate() if thread.name == "lease of bot/.lock")
        dead_elsewhere(bucket)
        keeper.join(30)


def test_a_lock_is_kept_fresh_and_its_loss_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    lease = s3_lease.Lease(bucket, "bot/.lock", "applied", "here")
    lease.acquire(0, print)
    before = lease.version
    lease.renew()
    assert lease.version != before
    dead_elsewhere(bucket)
    lease.renew()
    assert lease.lost
    bucket.remove(["bot/.lock"])
    monkeypatch.setattr(s3_lease, "LEASE_SECONDS", 0.03)
    with pytest.raises(LockedError, match="was lost to another writer meanwhile"):
        robbed_of_its_lock(bucket)
    assert json.loads(bucket.get("bot/.lock")[0])["pid"] == 41, "the new holder's lock is not taken away"


# Errors: place, fault, cure


@pytest.mark.parametrize(
    ("code", "fault", "cure"),
    [
        ("AccessDenied", "access denied (not for you)", "s3:GetObject"),
        ("KMS.DisabledException", "access denied (not for you)", "kms:Decrypt"),
        ("ExpiredToken", "AWS does not accept these credentials (ExpiredToken)", "aws sso login"),
        ("IllegalLocationConstraintException", "the bucket is in another region", "AWS_REGION"),
        ("InternalError", "not for you (InternalError)", "apply again"),
    ],
)
def test_what_aws_says_no_with_names_the_object_the_fault_and_the_cure(
    bucket: Bucket,
    aws_here: Moto,
    code: str,
    fault: str,
    cure: str,
) -> None:
    with aws_here.gate.closed(lambda _: True, code=code), pytest.raises(StoreError) as denied:
        S3Shelf(bucket, "bot/").read("x.head")
    place, _, said = str(denied.value).partition("\n")
    assert place == f"s3://{bucket.name}/bot/x.head: {fault}"
    assert cure in said
