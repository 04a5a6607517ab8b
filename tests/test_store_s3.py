"""A store in S3 is a store: nothing is made twice, nothing half is taken for whole, and every failure is survivable."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import TINY, Project

from llmspec import retention
from llmspec.errors import NoStoreError
from llmspec.s3 import Bucket
from llmspec.shelf import shelf_at
from llmspec.store import Store, open_artifact

if TYPE_CHECKING:
    from moto_parts import Moto

pytestmark = pytest.mark.aws
pytest_plugins = ["moto_parts"]
BUILT = ("data", "features", "model", "onnx", "evaluation")
UP_TO = ("--select", "+evaluation")


@dataclass
class Shop:
    """A product whose artifacts were made in a folder and then moved to S3."""

    project: Project
    aws: Moto
    bucket: str

    def knows(self, *stores: str) -> None:
        """Where it was kept before, the latest last."""
        (self.project.folder / ".llmspec" / "stores.json").write_text(json.dumps({"tiny": [str(self.project.store), *stores]}))

    def text(self, store: str = "") -> str:
        return TINY + f"store: {store or f's3://{self.bucket}/bots'}\n"

    def objects(self, stage: str = "") -> list[str]:
        return self.aws.keys(self.bucket, f"bots/tiny/{stage}")

    def manifest(self, stage: str) -> dict[str, Any]:
        """Of what is current."""
        key = self.aws.body(self.bucket, f"bots/tiny/{stage}/local.head").decode().strip()
        return dict(json.loads(self.aws.body(self.bucket, f"bots/tiny/{stage}/{key}/manifest.json")))

    def digests(self) -> dict[str, str]:
        return {stage: self.manifest(stage)["digest"] for stage in BUILT}

    def forget_copies(self) -> None:
        """As on a machine that was never here."""
        shutil.rmtree(self.project.folder / ".llmspec" / "copies", ignore_errors=True)

    def apply(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.project.run("apply", "tiny.yaml", "--yes", *words, check=check)


@pytest.fixture(scope="module")
def moved(applied_once: Project, aws: Moto, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """What the tests below have copies of: all is made, and release 1 is live."""
    project = applied_once.copy(tmp_path_factory.mktemp("moved") / "shop")
    project.env |= aws.env
    found = Shop(project, aws, aws.bucket())
    found.knows()
    project.write(found.text())
    found.apply(*UP_TO)
    return found


@pytest.fixture
def live_shop(moved: Shop, tmp_path: Path) -> Iterator[Shop]:
    """Release 1 is live."""
    found = Shop(moved.project.copy(tmp_path / "shop"), moved.aws, moved.aws.bucket())
    for name in moved.objects():
        found.aws.s3.copy_object(Bucket=found.bucket, Key=name, CopySource={"Bucket": moved.bucket, "Key": name})
    found.knows(f"s3://{found.bucket}/bots")
    found.project.write(found.text())
    yield found
    found.project.stop()


@pytest.fixture
def shop(live_shop: Shop) -> Shop:
    """All is made, and nothing was ever live."""
    live_shop.project.forget("endpoint")
    for name in live_shop.objects("endpoint/"):
        live_shop.aws.s3.delete_object(Bucket=live_shop.bucket, Key=name)
    return live_shop


def acted(said: str) -> dict[str, str]:
    """Stage -> what an apply said of it."""
    return {line.split()[1]: line for line in said.splitlines() if line.startswith("  ✓")}


def test_moving_to_s3_and_back_retrains_nothing_and_every_object_is_under_the_bucket_s_key(shop: Shop) -> None:
    before = shop.project.digests()
    assert shop.digests() == before
    actions = shop.project.actions(*UP_TO)
    assert {actions[stage] for stage in BUILT} == {"reuse"}
    shop.project.store.rename(shop.project.folder / "thrown-away")
    shop.project.write(shop.text("back"))
    shop.forget_copies() if (shop.project.folder / ".llmspec" / "copies").exists() else None
    said = shop.apply(*UP_TO).stdout
    assert "Nothing to change" in said
    back = shop.project.folder / "back" / "tiny"
    for stage in BUILT:
        (made,) = (open_artifact(path.parent) for path in (back / stage).glob("*/manifest.json"))
        assert made
        assert made.verify().manifest.digest == before[stage]
    for key in shop.objects():
        assert shop.aws.s3.head_object(Bucket=shop.bucket, Key=key)["ServerSideEncryption"] == "aws:kms"


def test_cleaning_that_changes_no_row_retrains_nothing_in_s3_either(shop: Shop) -> None:
    before = shop.digests()
    shop.project.edit("clean: [collapse_whitespace", "clean: [strip_html, collapse_whitespace")
    said = acted(shop.apply(*UP_TO).stdout)
    assert "reused" not in said["data"]
    assert all("reused" in said[stage] for stage in BUILT[1:])
    assert shop.digests() == before


def test_killed_between_its_files_and_its_manifest_an_artifact_counts_as_never_made_and_is_only_sent_again(shop: Shop) -> None:
    shop.project.edit("  rows: 4\n", "  rows: 3\n")
    known = {key.split("/")[3] for key in shop.objects("evaluation/")}
    with shop.aws.gate.closed(
        lambda asked: asked.startswith("PUT") and "/evaluation/" in asked and "manifest" in asked, stand=True
    ):
        command = subprocess.Popen(
            shop.project.command("apply", "tiny.yaml", "--yes", *UP_TO),
            cwd=shop.project.folder,
            env=shop.project.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert shop.aws.gate.reached.wait(120)
        elsewhere = shop.project.copy(shop.project.folder.parent / "elsewhere")
        said = elsewhere.run("apply", "tiny.yaml", "--yes", "--no-wait", *UP_TO, check=False)
        assert (said.returncode, f"process {command.pid}" in said.stderr) == (1, True), said.stderr
        command.kill()
        command.wait()
    (half,) = {key.split("/")[3] for key in shop.objects("evaluation/")} - known
    files = {key.rpartition(f"{half}/")[2] for key in shop.objects(f"evaluation/{half}/")}
    assert {"scores.json", "predictions.parquet"} < files
    assert "manifest.json" not in files
    assert shop.project.actions(*UP_TO)["evaluation"] == "rerun"
    shop.aws.gate.asked.clear()
    shop.apply("--no-wait", *UP_TO)  # the dead one's lock is taken over at once: this machine knows that it is dead
    manifest = shop.manifest("evaluation")
    assert manifest["key"] == half
    assert set(manifest["files"]) == files
    sent = [asked for asked in shop.aws.gate.asked if asked.startswith("PUT") and half in asked]
    assert [asked.rpartition("/")[2] for asked in sent] == ["manifest.json"], "what was there was not sent twice, nor made twice"
    assert shop.objects(".lock") == []


def test_a_damaged_object_is_found_before_use_set_aside_and_made_again(shop: Shop) -> None:
    before = shop.digests()
    key = shop.manifest("data")["key"]
    (rows,) = (name for name in shop.objects(f"data/{key}/") if name.endswith("train.parquet"))
    content = bytearray(shop.aws.body(shop.bucket, rows))
    content[len(content) // 2] ^= 1
    shop.aws.s3.put_object(Bucket=shop.bucket, Key=rows, Body=bytes(content))
    for name in shop.objects("features/"):
        shop.aws.s3.delete_object(Bucket=shop.bucket, Key=name)
    shutil.rmtree(shop.project.store)
    shop.forget_copies()
    shop.apply("--select", "+features")
    assert shop.digests() == before
    assert hashlib.sha256(shop.aws.body(shop.bucket, rows)).hexdigest() == shop.manifest("data")["files"]["train.parquet"]["sha256"]
    assert bytes(content) == shop.aws.body(shop.bucket, rows.replace(key, f"{key}.damaged"))


def test_a_release_in_s3_is_served_from_a_copy_that_was_looked_at_and_destroy_leaves_nothing(live_shop: Shop) -> None:
    shop = live_shop
    shop.project.edit("concurrency: 4", "concurrency: 5")
    assert "Release 2 is live" in shop.apply().stdout
    (desired,) = (shop.project.folder / ".llmspec" / "run").glob("*/desired.json")
    served = Path(json.loads(desired.read_text())["release"]["artifact"])
    assert served.is_relative_to(shop.project.folder / ".llmspec" / "copies")
    copy = open_artifact(served)
    assert copy
    assert copy.verify().manifest.digest == shop.digests()["onnx"]
    _, release = json.loads(shop.project.run("history", "tiny.yaml", "-o", "json").stdout)
    assert release["live"]
    assert release["artifact"].startswith(f"s3://{shop.bucket}/bots/tiny/onnx/")
    assert "worst:" in shop.project.run("explain", "tiny.yaml", "evaluation").stdout
    assert "serves      release 2" in shop.project.run("explain", "tiny.yaml", "endpoint").stdout
    shop.project.run("rollback", "tiny.yaml")
    assert shop.project.actions()["endpoint"] == "redeploy", "the pointer moved in S3"
    assert shop.project.run("ask", "tiny.yaml", "Where do I find fan number 3?").stdout.strip()
    said = shop.project.run("destroy", "tiny.yaml", "--yes", "--artifacts").stdout
    assert f"s3://{shop.bucket}/bots/tiny" in said
    assert shop.aws.keys(shop.bucket) == []
    assert not (shop.project.folder / ".llmspec" / "copies" / "tiny").exists()


def test_a_plan_asks_a_few_things_of_each_stage_and_none_of_them_twice(shop: Shop) -> None:
    shop.aws.gate.asked.clear()
    shop.project.plan()
    asked = list(shop.aws.gate.asked)
    assert len(asked) <= 25, asked
    assert all(line.startswith(("GET", "HEAD")) for line in asked), "a plan writes nothing"


def test_all_that_a_plan_and_the_nightly_look_ask_of_the_store_the_role_that_only_looks_may_read(live_shop: Shop) -> None:
    from foundation_parts import allowed, reach, small

    from infra_pulumi.components.deploy import DeployArgs
    from infra_pulumi.components.identity import IdentityArgs
    from infra_pulumi.components.storage import StorageArgs
    from infra_pulumi.owner import Owner

    live_shop.aws.gate.asked.clear()
    live_shop.project.plan()
    live_shop.project.run("status", "tiny.yaml", check=False)
    asked = [urlsplit(line.partition(" ")[2]) for line in live_shop.aws.gate.asked]
    read = {f"arn:aws:s3:::{url.path.lstrip('/')}" for url in asked if url.path.count("/") > 1 and url.path[-1] != "/"}
    listed = {found["prefix"][0] for url in asked if "prefix" in (found := parse_qs(url.query))}
    assert any(arn.endswith("/model/local.head") for arn in read)
    identity = IdentityArgs(deploy=DeployArgs("acme/tiny", "local"))
    looker = allowed(
        small(owner=Owner("tiny", "local", "eu-central-1"), storage=StorageArgs(live_shop.bucket, "bots"), identity=identity),
        "plan",
    )
    papers = reach(looker, "s3:GetObject")
    assert {arn for arn in read if not any(fnmatchcase(arn, paper) for paper in papers)} == set()
    (prefixes,) = (each["Condition"]["StringLike"]["s3:prefix"] for each in looker if "s3:ListBucket" in each["Action"])
    assert listed
    assert {each for each in listed if not any(fnmatchcase(each, prefix) for prefix in prefixes)} == set()
    assert [each["Resource"] for each in looker if "kms:Decrypt" in each["Action"]]


@pytest.mark.usefixtures("aws_here")
def test_of_rows_that_are_all_old_the_live_ones_stay_and_nothing_is_made_again(shop: Shop) -> None:
    live = shop.manifest("data")
    for stage in BUILT:
        manifest = {**shop.manifest(stage), "finished": "2020-01-01T00:00:00+00:00"}
        here = {"Bucket": shop.bucket, "Key": f"bots/tiny/{stage}/{manifest['key']}/manifest.json"}
        shop.aws.s3.put_object(**here, Body=json.dumps(manifest))
    for name, digest in (("manifest.json", "another"), ("rows.parquet", "")):
        body = json.dumps({**live, "finished": "2020-01-01T00:00:00+00:00", "key": "superseded", "digest": digest})
        shop.aws.s3.put_object(Bucket=shop.bucket, Key=f"bots/tiny/data/superseded/{name}", Body=body)
    before = shop.digests()
    (gone,) = retention.remove(Store(shelf_at(f"s3://{shop.bucket}/bots", Path())), "tiny", datetime.now(UTC))
    assert gone.manifest.key == "superseded"
    assert not shop.objects("data/superseded/")
    assert shop.digests() == before
    shop.forget_copies()
    actions = shop.project.actions(*UP_TO)
    assert {actions[stage] for stage in BUILT} == {"reuse"}


def test_a_plan_in_a_folder_imports_nothing_that_speaks_to_s3(applied_once: Project) -> None:
    look = (
        "import sys; from llmspec.cli import main; assert main(['validate', 'tiny.yaml']) == main(['plan', 'tiny.yaml']) == 0; "
        "new = {'boto3', 'botocore', 'llmspec.s3', 'llmspec.shelf_s3', 's3transfer'} & set(sys.modules); assert not new, new"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", look], cwd=applied_once.folder, env=applied_once.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Errors: place, fault, cure


def plan_says(project: Project, env: dict[str, str], store: str) -> str:
    project.write(TINY + f"store: {store}\n")
    project.env = env
    said = project.run("plan", "tiny.yaml", check=False)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    return said.stderr


@pytest.mark.usefixtures("aws_here")
def test_a_bucket_that_the_foundation_makes_is_not_to_be_made_by_hand() -> None:
    with pytest.raises(NoStoreError, match=r"there is no such bucket\n  `llmspec apply` makes it, or correct"):
        Bucket("shop-of-nobody", coming=True).ask("put_object", Key="bots/live.json", Body=b"")


def test_no_bucket_no_credentials_no_network_and_no_library_are_said_with_their_cure(project: Project, aws: Moto) -> None:
    said = plan_says(project, aws.env, "s3://shop-of-nobody/bots")
    assert "s3://shop-of-nobody: there is no such bucket\n  make it" in said
    nobody = {name: value for name, value in aws.env.items() if "KEY" not in name} | {"HOME": str(project.folder)}
    assert "no credentials" in (said := plan_says(project, nobody, "s3://shop-of-nobody/bots"))
    assert "AWS_PROFILE" in said
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    unreachable = aws.env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    assert "cannot be reached" in (said := plan_says(project, unreachable, "s3://shop-of-nobody/bots"))
    assert "AWS_ENDPOINT_URL" in said
    without = "import sys; sys.modules['boto3'] = None; from llmspec.cli import main; sys.exit(main(['plan', 'tiny.yaml']))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", without], cwd=project.folder, env=project.environment(), capture_output=True, text=True
    )
    assert (done.returncode, "pip install 'llmspec[aws]'" in done.stderr) == (1, True), done.stderr


def test_an_old_store_that_cannot_be_asked_is_an_error_and_one_that_is_gone_is_none(project: Project, aws: Moto) -> None:
    project.env |= aws.env
    home = project.folder / ".llmspec"
    home.mkdir()
    (home / "stores.json").write_text(json.dumps({"tiny": [f"s3://{aws.bucket()}/bots"]}))
    with aws.gate.closed(lambda _: True):
        said = project.run("plan", "tiny.yaml", check=False)
    assert "earlier store" in said.stderr
    assert (said.returncode, "access denied" in said.stderr) == (1, True), "it might hold the model that would be trained again"
    (home / "stores.json").write_text(json.dumps({"tiny": ["s3://shop-of-nobody/bots"]}))
    assert project.actions()["data"] == "run"
