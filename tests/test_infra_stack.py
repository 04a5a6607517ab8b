"""A stack through Pulumi's own Automation API, against an engine of ours that really runs the program (`pulumi_engine`)."""

import gc
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
from pulumi_engine_parts import Engine, engine

from llmspec import secrets
from llmspec.errors import LockedError, PlaceError, SpecError
from llmspec.home import home
from llmspec.infra import command, wanted
from llmspec.infra.change import CloudChange, counted
from llmspec.infra.failure import cure
from llmspec.infra.stack import Stack
from llmspec.infra.state import local
from llmspec.spec.monitors import Monitors

__all__ = ["engine"]
# Where a program is cut off in the middle, Pulumi's library leaves a coroutine that says so when it is collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Error in event stream:UserWarning"
)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Such coroutines say it here, and not in a test that happens to come later."""
    yield
    gc.collect()


BUCKET, ROLE, KEY = "aws:s3/bucket:Bucket", "aws:iam/role:Role", "aws:kms/key:Key"


class Thing(pulumi.CustomResource):
    """Any resource, without loading the provider's library."""

    arn: pulumi.Output[str]

    def __init__(self, kind: str, title: str, *, opts: pulumi.ResourceOptions | None = None, **inputs: Any) -> None:
        super().__init__(kind, title, {**inputs, "arn": None}, opts)


def shop(bucket: str = "acme", policy: str = "read", keep: bool = False, **more: str) -> Callable[[], None]:
    """A bucket, a role that knows it, and roles by name."""

    def program() -> None:
        store = Thing(BUCKET, "store", bucket=bucket, opts=pulumi.ResourceOptions(retain_on_delete=keep))
        Thing(ROLE, "worker", name="worker", policy=pulumi.Output.concat(policy, " ", store.arn))
        for title, text in more.items():
            Thing(ROLE, title, name=title, policy=text)
        pulumi.export("bucket", store.arn)
        pulumi.export("webhook", pulumi.Output.secret("https://hooks.example/T0"))

    return program


def stack(program: Callable[[], None], name: str = "bot-prod-foundation") -> Stack:
    return Stack(name, program, "eu-central-1", local(home() / "pulumi" / "state"))


def ops(changes: list[CloudChange]) -> dict[str, str]:
    return {change.name: change.op for change in changes}


def checkpoint(name: str = "bot-prod-foundation") -> dict[str, Any]:
    text = (home() / "pulumi" / "state" / ".pulumi" / "stacks" / "llmspec" / f"{name}.json").read_text()
    latest: dict[str, Any] = json.loads(text)["checkpoint"]["latest"]
    return latest


def test_a_stack_comes_up_gives_out_what_it_exports_and_again_changes_nothing(engine: Engine) -> None:
    made, said = stack(shop()), list[str]()
    assert ops(made.preview()) == {"store": "create", "worker": "create"}
    assert not engine.things()
    assert not (home() / "pulumi" / "state").exists(), "a preview makes no state"
    assert made.up(said.append) == {"bucket": "arn:aws:s3:::acme"}
    assert said == ["+ s3 Bucket store", "+ iam Role worker"]
    assert engine.things()["iam.role.Role/worker"]["policy"] == "read arn:aws:s3:::acme"
    assert made.preview() == []
    said.clear()
    assert made.up(said.append) == made.outputs() == {"bucket": "arn:aws:s3:::acme"}
    assert said == []


def test_a_secret_is_sealed_in_the_state_and_never_given_out(engine: Engine) -> None:
    made = stack(shop())
    assert "webhook" not in made.up()
    assert "hooks.example" not in json.dumps(checkpoint())
    assert stat.S_IMODE((home() / "pulumi" / "passphrase").stat().st_mode) == 0o600
    (home() / "pulumi" / "passphrase").write_text("another")
    with pytest.raises(PlaceError, match="incorrect passphrase"):
        made.up()


def test_a_passphrase_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    made, phrase = local(tmp_path / "pulumi" / "state"), tmp_path / "pulumi" / "passphrase"

    def killed(_: int) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("secrets.token_urlsafe", killed)
        with pytest.raises(KeyboardInterrupt):
            made.make()
    made.make()
    first = phrase.read_text()
    made.make()
    assert phrase.read_text() == first != ""
    assert {path.name for path in phrase.parent.iterdir()} == {"passphrase", "state"}


def test_what_changes_is_named_by_its_keys_and_what_nobody_asks_for_goes(engine: Engine) -> None:
    stack(shop(extra="a")).up()
    changed = stack(shop(policy="write"))
    update, delete = changed.preview()
    assert (update.op, update.name, update.keys, update.reason) == ("update", "worker", ("policy",), "policy differs")
    assert (delete.op, delete.name, delete.loses_data, delete.reason) == ("delete", "extra", "", "nothing asks for it")
    assert counted([update, delete]) == "1 to update, 1 to delete"
    changed.up()
    assert set(engine.things()) == {"s3.bucket.Bucket/acme", "iam.role.Role/worker"}


def test_a_replacement_says_what_forces_it_and_what_is_lost(engine: Engine) -> None:
    stack(shop()).up()
    found = {change.name: change for change in stack(shop(bucket="acme-two")).preview()}
    assert (found["store"].op, found["store"].forced_by) == ("replace", ("bucket",))
    assert found["store"].loses_data == "every object in it"
    assert found["store"].reason == "bucket cannot be changed in place"
    assert found["worker"].op == "update"
    said: list[str] = []
    stack(shop(bucket="acme-two")).up(said.append)
    assert "± s3 Bucket store" in said
    assert {name for name in engine.things() if name.startswith("s3")} == {"s3.bucket.Bucket/acme-two"}


def test_what_is_kept_outlives_a_replacement_and_a_destroy(engine: Engine) -> None:
    made = stack(shop(keep=True))
    made.up()
    (replaced, _) = stack(shop(bucket="acme-two", keep=True)).preview()
    assert (replaced.kept, replaced.loses_data) == (True, "")
    assert {held.name: held.keeps for held in made.held()} == {"store": True, "worker": False}
    said: list[str] = []
    made.destroy(said.append)
    assert said == ["- iam Role worker", "= s3 Bucket store  stays in AWS"]
    assert set(engine.things()) == {"s3.bucket.Bucket/acme"}
    assert not made.exists()
    made.destroy(said.append)
    assert len(said) == 2, "what is not there needs no destroying"


def test_a_resource_that_fails_is_named_with_awss_reason_and_a_cure_and_the_rest_is_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "api error AccessDenied: bob is not authorized to perform: iam:CreateRole"
    refusal = f"1 error occurred:\n\t* creating IAM Role (worker): {why}"
    monkeypatch.setenv("PULUMI_ENGINE_FAILS", json.dumps({"worker": refusal}))
    with pytest.raises(PlaceError) as told:
        stack(shop()).up()
    first, second, third = str(told.value).splitlines()
    assert first.startswith("iam Role worker: creating IAM Role (worker): api error AccessDenied")
    assert second == "  who applies needs iam:CreateRole"
    assert "what was made before is kept" in third
    monkeypatch.delenv("PULUMI_ENGINE_FAILS")
    assert ops(stack(shop()).preview()) == {"worker": "create"}
    stack(shop()).up()


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("api error BucketAlreadyExists: taken", "name another `store:`"),
        ("api error EntityAlreadyExists: role", "no stack has it"),
        ("function decreases account's UnreservedConcurrentExecution below its minimum value of [10]", "lower endpoint.scale.max"),
        ("api error BucketAlreadyOwnedByYou: yours", "it may hold another product's artifacts"),
        ("waiting for ECS Service (primary) update: timeout while waiting for state to become 'tfSTABLE'", "may still be at it"),
        ("dial tcp: i/o timeout", "out of reach"),
        ("ResourceLimitExceeded: The account-level service limit 'ml.g5.xlarge for endpoint usage' is 0", "servicequotas"),
        ("api error ExpiredToken: the token", "sign in"),
        ("something new", "correct what AWS names"),
    ],
)
def test_what_aws_says_no_with_has_a_cure(said: str, helps: str) -> None:
    assert helps in cure(said)


def test_what_the_program_itself_raises_is_told_as_it_is(engine: Engine) -> None:
    def program() -> None:
        raise SpecError()

    with pytest.raises(SpecError):
        stack(program).up()


def paused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str, work: Callable[[], Any]
) -> tuple[int, threading.Thread, list[Any]]:
    """The engine stands still at this moment; its process, the thread that waits for it, and what came of that."""
    monkeypatch.setenv("PULUMI_ENGINE_PAUSE", moment)
    came: list[Any] = []

    def go() -> None:
        try:
            came.append(work())
        except PlaceError as error:
            came.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    file = engine.cloud / "paused"
    until = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    monkeypatch.delenv("PULUMI_ENGINE_PAUSE")
    return int(file.read_text()), thread, came


@pytest.mark.parametrize("moment", ["before:worker", "after:worker"])
def test_killed_in_the_middle_the_next_up_makes_nothing_twice_and_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    pid, thread, came = paused(engine, monkeypatch, moment, lambda: stack(shop()).up())
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert isinstance(came[0], PlaceError)
    assert [each["type"] for each in checkpoint()["pending_operations"]] == ["creating"]
    said: list[str] = []
    assert stack(shop()).up(said.append) == {"bucket": "arn:aws:s3:::acme"}
    assert any("an apply was killed here" in line for line in said)
    assert any(", is dead and left its lock: taken off" in line for line in said)
    assert set(engine.things()) == {"s3.bucket.Bucket/acme", "iam.role.Role/worker"}
    assert checkpoint()["pending_operations"] == []
    assert stack(shop()).preview() == []


@pytest.mark.parametrize("moment", ["before:store", "after:store", "delete:store"])
def test_killed_while_something_is_replaced_the_next_up_ends_with_the_new_one_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    stack(shop()).up()
    other = stack(shop(bucket="acme-two"))
    pid, thread, _ = paused(engine, monkeypatch, moment, other.up)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    other.up()
    assert set(engine.things()) == {"s3.bucket.Bucket/acme-two", "iam.role.Role/worker"}
    assert other.preview() == []


def test_a_thing_of_which_aws_alone_knows_the_name_is_told_after_a_kill(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> None:
        Thing(KEY, "data", description="rows")

    pid, thread, _ = paused(engine, monkeypatch, "after:data", lambda: stack(keys).up())
    os.kill(pid, signal.SIGKILL)
    thread.join()
    said: list[str] = []
    stack(keys).up(said.append)
    assert any("kms Key data may have been made twice" in line for line in said)
    assert len(engine.things()) == 2, "the sweep is for the other"


def test_what_destroy_kept_is_taken_in_again_and_made_anew_only_where_it_is_gone(engine: Engine) -> None:
    made = stack(shop(keep=True))
    made.up()
    made.destroy()
    assert set(engine.things()) == {"s3.bucket.Bucket/acme"}
    assert not made.exists()
    assert ops(made.preview()) == {"worker": "create"}, "a plan knows it, too"
    said: list[str] = []
    assert made.up(said.append) == {"bucket": "arn:aws:s3:::acme"}
    assert said[0].startswith("bot-prod-foundation: kept when it was destroyed, and taken in again: store")
    assert set(engine.things()) == {"s3.bucket.Bucket/acme", "iam.role.Role/worker"}
    assert made.preview() == []
    made.destroy()
    engine.file("s3.bucket.Bucket/acme").unlink()
    made.up()
    assert set(engine.things()) == {"s3.bucket.Bucket/acme", "iam.role.Role/worker"}


def test_a_destroy_that_was_killed_and_begun_again_forgets_nothing_that_it_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program() -> None:
        role = Thing(ROLE, "worker", name="worker")
        keep = pulumi.ResourceOptions(retain_on_delete=True, depends_on=[role])
        Thing(BUCKET, "store", bucket="acme", opts=keep)  # it goes out of the stack before the role goes

    made = stack(program)
    made.up()
    pid, thread, _ = paused(engine, monkeypatch, "delete:worker", made.destroy)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    made.destroy()
    assert set(engine.things()) == {"s3.bucket.Bucket/acme"}
    made.up()
    assert made.preview() == []


def test_a_stack_that_somebody_else_changes_says_who_and_cancel_takes_the_lock_off(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack(shop()).up()
    lock = home() / "pulumi" / "state" / ".pulumi" / "locks" / "organization" / "llmspec" / "bot-prod-foundation" / "one.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"pid": 41, "username": "ana", "hostname": "laptop", "timestamp": "2026-01-02T03:04:05Z"}))
    with pytest.raises(LockedError, match="is being changed by ana@laptop, process 41, since 2026-01-02T03:04:05Z") as told:
        stack(shop(policy="write")).up()
    assert "--unlock" in str(told.value)
    stack(shop()).cancel()
    stack(shop(policy="write")).up()


def test_interrupted_it_finishes_what_is_in_flight_and_keeps_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, thread, came = paused(engine, monkeypatch, "before:store", lambda: stack(shop()).up())
    os.kill(pid, signal.SIGINT)
    (engine.cloud / "go").touch()
    thread.join()
    assert "update canceled" in str(came[0])
    assert set(engine.things()) == {"s3.bucket.Bucket/acme"}
    assert not list((home() / "pulumi" / "state" / ".pulumi" / "locks").rglob("*.json"))
    assert ops(stack(shop()).preview()) == {"worker": "create"}


def test_drift_is_what_was_changed_or_removed_by_hand(engine: Engine) -> None:
    made = stack(shop())
    assert made.drift() == []
    made.up()
    assert made.drift() == []
    engine.file("s3.bucket.Bucket/acme").write_text(json.dumps({"bucket": "acme", "acl": "public-read"}))
    engine.file("iam.role.Role/worker").unlink()
    update, delete = made.drift()
    assert (update.op, update.name, update.keys) == ("update", "store", ("acl",))
    assert (delete.op, delete.name) == ("delete", "worker")
    assert "policy" in engine.things().get("iam.role.Role/worker", {"policy": ""}), "a look changes nothing"


def test_what_was_changed_by_hand_is_seen_and_put_back_by_who_asks_aws_and_by_nobody_else(engine: Engine) -> None:
    made = stack(shop())
    made.up()
    was = engine.things()
    engine.file("s3.bucket.Bucket/acme").write_text(json.dumps({"bucket": "acme", "acl": "public-read"}))
    engine.file("iam.role.Role/worker").unlink()
    assert made.preview() == []
    made.up()
    assert engine.things() != was, "the state alone believes that all is well"
    assert ops(made.preview(asked=True)) == {"store": "update", "worker": "create"}
    made.up(asked=True)
    assert engine.things() == was
    assert made.drift() == []


def test_a_look_for_drift_asks_for_no_secret_s_value(engine: Engine) -> None:
    def program() -> None:
        Thing("aws:secretsmanager/secretVersion:SecretVersion", "webhook", secretId="webhook", secretString="https://room.example")
        Thing(ROLE, "worker", name="worker", policy="read")

    made = stack(program)
    made.up()
    for thing in engine.things():
        engine.file(thing).unlink()
    assert ops(made.drift()) == {"worker": "delete"}


def test_a_secret_that_is_not_set_is_not_compared_and_everything_else_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    address, policy = "https://room.example/${secret.HOOK}", "read"

    def service_stack(site: Any, release: Any, resolve: Callable[[str], str] = secrets.resolve) -> Stack:
        def program() -> None:
            Thing("aws:secretsmanager/secretVersion:SecretVersion", "webhook", secretString=pulumi.Output.secret(resolve(address)))
            Thing(ROLE, "worker", name="worker", policy=policy)

        return stack(program, "bot-prod-service")

    def service() -> wanted.Wanted:
        with wanted.looking(product) as both:
            return both()[-1]

    monitors = Monitors.model_validate({"notify": {"webhook": address}})
    site = SimpleNamespace(ground={"stands": "here"}, spec=SimpleNamespace(monitors=monitors))
    product: Any = SimpleNamespace(place=lambda _: SimpleNamespace(site=site))
    monkeypatch.setattr(wanted, "service_stack", service_stack)
    monkeypatch.setattr(wanted, "foundation_wanted", lambda _: wanted.Wanted("foundation", "bot-prod-foundation"))
    monkeypatch.setattr(wanted, "wanted_release", lambda _: "a release")
    monkeypatch.setenv("HOOK", "T0-very-secret")
    service_stack(site, "a release").up()
    monkeypatch.delenv("HOOK")
    found = service()
    assert (found.compared, found.pending, found.summary) == (True, False, "nothing to change, but for secret HOOK, not set here")
    policy = "write"
    found = service()
    assert (found.pending, ops(found.changes)) == (True, {"worker": "update"})
    assert found.note == "not compared: the value of secret HOOK, which only `apply` sees"
    monkeypatch.setenv("HOOK", "T1-another")
    assert set(ops(service().changes)) == {"webhook", "worker"}


def test_without_the_cli_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / ".llmspec"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not command.installed()
    with pytest.raises(command.CliMissingError, match=r"not installed here\n  get it: curl -fsSL https://get.pulumi.com"):
        stack(shop()).up()


@pytest.mark.parametrize(
    ("version", "fault"),
    [("v3.90.0", "minimum CLI version requirement is 3.181.0"), ("v4.0.0", "Major version mismatch"), ("spacy", "Could not parse")],
)
def test_a_cli_that_does_not_fit_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch, version: str, fault: str) -> None:
    monkeypatch.setenv("PULUMI_ENGINE_VERSION", version)
    with pytest.raises(PlaceError, match=fault) as told:
        stack(shop()).up()
    assert "get 3.181.0 or later" in str(told.value)


def test_an_older_cli_tells_its_events_in_a_file(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ENGINE_VERSION", "v3.190.0")
    assert ops(stack(shop()).preview()) == {"store": "create", "worker": "create"}


def test_something_else_that_is_called_pulumi_is_refused(engine: Engine) -> None:
    (engine.folder / "pulumi").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(PlaceError, match="what is called pulumi there"):
        stack(shop()).up()
