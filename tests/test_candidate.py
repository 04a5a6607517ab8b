"""A release is tried out beside what is live, made live, and taken back, and nobody who asks what is live notices."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from conftest import Project
from serving_parts import processes
from test_lock import held

from llmspec.audit import Trail
from llmspec.card import Place
from llmspec.deploy import revive, rollback
from llmspec.keys import Keys
from llmspec.release import Live, Release, Releases
from llmspec.shelf import Folder
from llmspec.stage import Product

CHAT = {"messages": [{"role": "user", "content": "Where is the lamp?"}], "max_tokens": 3}


def ask(url: str, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers, timeout=30).status_code


@contextmanager
def asking(url: str, key: str) -> Iterator[list[int]]:
    """Somebody asks all the time."""
    heard: list[int] = []
    ended = threading.Event()

    def go() -> None:
        with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            while not ended.is_set():
                heard.append(client.post(f"{url}/v1/chat/completions", json=CHAT).status_code)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join()


def url_in(said: str) -> str:
    return next(word for word in said.split() if word.startswith("http"))


@pytest.mark.timeout(240)
def test_a_candidate_is_tried_by_developers_promoted_and_rolled_back_without_a_failed_request(applied: Project) -> None:
    live = url_in(applied.run("apply", "tiny.yaml", "--yes").stdout)
    applied.edit("concurrency: 4", "concurrency: 3")
    tried = url_in(applied.run("apply", "tiny.yaml", "--candidate", "--yes").stdout)
    assert (httpx.get(f"{live}/health").json()["release"], httpx.get(f"{tried}/health").json()["release"]) == (1, 2)
    assert applied.run("ask", "tiny.yaml", "Where?", "--candidate").stdout.strip()
    assert f"candidate    release 2  {tried}" in applied.run("status", "tiny.yaml").stdout
    assert [line[0] for line in applied.run("history", "tiny.yaml").stdout.splitlines()] == ["○", "●"]

    folder = applied.folder / ".llmspec" / "access" / "tiny-local"
    user, developer = (Keys(folder).create(role, role)[1] for role in ("user", "developer"))
    assert [ask(url, key) for url in (live, tried) for key in (user, developer)] == [200, 200, 403, 200]

    with asking(live, user) as heard:
        assert "Release 2 is live" in applied.run("promote", "tiny.yaml").stdout
        assert httpx.get(f"{live}/health").json()["release"] == 2
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{tried}/health")
        assert applied.actions()["endpoint"] == "reuse"
        assert "Release 1 is live again" in applied.run("rollback", "tiny.yaml").stdout
        assert httpx.get(f"{live}/health").json()["release"] == 1
    assert len(heard) > 5
    assert set(heard) == {200}

    assert applied.actions()["endpoint"] == "redeploy", "the spec asks for release 2 still"
    with held(applied.store / "tiny" / ".lock"):  # somebody trains
        applied.run("rollback", "tiny.yaml", "--to", "2")
    assert applied.actions()["endpoint"] == "reuse"
    events = [(entry["event"], entry.get("release")) for entry in Trail(folder).entries() if entry.get("release")]
    assert events == [("deployed", 1), ("nominated", 2), ("promoted", 2), ("rolled back", 1), ("rolled back", 2)]
    wrong = applied.run("rollback", "tiny.yaml", "--to", "9", check=False)
    assert (wrong.returncode, "there is no release 9" in wrong.stderr) == (2, True)
    nothing = applied.run("promote", "tiny.yaml", check=False)
    assert (nothing.returncode, "tiny has no candidate" in nothing.stderr) == (2, True)
    applied.run("apply", "tiny.yaml", "--candidate", "--yes", check=False)
    applied.run("stop", "tiny.yaml")
    assert processes(applied.folder / ".llmspec") == []


def test_what_a_promotion_that_was_killed_left_running_ends_with_the_next_apply(applied: Project) -> None:
    applied.run("apply", "tiny.yaml", "--yes")
    applied.edit("concurrency: 4", "concurrency: 3")
    tried = url_in(applied.run("apply", "tiny.yaml", "--candidate", "--yes").stdout)
    killed = (
        "import os; from llmspec import deploy; from llmspec.stage import Product; deploy.drop = lambda *_: os._exit(9); "
        "product = Product.open('tiny.yaml'); deploy.promote(product, product.place('endpoint'))"
    )
    command = [sys.executable, "-P", "-c", killed]
    assert subprocess.run(command, cwd=applied.folder, env=applied.environment(), check=False).returncode == 9
    assert applied.actions()["endpoint"] == "restart"
    assert "Release 2 is live" in applied.run("apply", "tiny.yaml", "--yes").stdout
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{tried}/health")
    assert applied.actions()["endpoint"] == "reuse"


def test_a_candidate_that_does_not_pass_the_gates_is_not_served(applied: Project) -> None:
    applied.edit("perplexity <= 100000", "perplexity <= 1.001")
    applied.edit("concurrency: 4", "concurrency: 3")
    done = applied.run("apply", "tiny.yaml", "--candidate", "--yes", check=False)
    assert (done.returncode, "perplexity" in done.stdout + done.stderr) == (1, True)
    assert processes(applied.folder / ".llmspec") == []


def test_what_somebody_else_brought_up_meanwhile_is_not_started_again() -> None:
    pointed, up = [2], [None, Live("http://127.0.0.1:1", 1, 1, 0.0)]

    @contextmanager
    def deploying(_: object) -> Iterator[None]:
        pointed[:] = [1]  # a rollback had its turn first
        yield

    releases = SimpleNamespace(live=lambda: pointed[0])
    product = cast(Product, SimpleNamespace(name="bot", target="local", releases=releases, deploying=deploying))
    assert revive(product, cast(Place, SimpleNamespace(live=lambda *_: up.pop(0)))) is None
    assert up == []


def test_the_way_back_gives_one_release_all_of_the_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path))
    releases, shares = Releases(Folder(tmp_path / "releases")), [{"release": 1, "weight": 50}, {"release": 2, "weight": 50}]
    first, second = (Release(number, "bot", "local", "", "", str(number), "", {"variants": shares}) for number in (1, 2))
    releases.at.write("000001.json", first.to_json())  # with its shares, as releases were once written
    releases.point(first, "then")
    releases.point(releases.add(second), "now")
    served: list[Release] = []

    def serve(release: Release) -> Live:
        served.append(release)
        return Live("http://127.0.0.1:1", release.number, 1, 0.0)

    facts = {"name": "bot", "target": "local", "releases": releases, "located": lambda release: release}
    product = cast(Product, SimpleNamespace(deploying=lambda _: nullcontext(), **facts))
    rollback(product, cast(Place, SimpleNamespace(serve=serve)))
    live = releases.live()
    assert live
    assert [(release.number, release.variants) for release in (*served, live)] == [(1, []), (1, [])]


def test_the_way_back_leads_to_what_was_live_before(tmp_path_factory: pytest.TempPathFactory) -> None:
    releases = Releases(Folder(tmp_path_factory.mktemp("releases")))
    for number in (1, 2, 3):
        releases.add(Release(number, "bot", "local", "", "", str(number), "", {}))
    before = []
    for number in (1, 3, 3, 2):
        release = releases.get(number)
        assert release
        releases.point(release, "")
        found = releases.before()
        before.append(found.number if found else None)
    assert before == [None, 1, 1, 3]


def test_a_release_that_another_evaluation_let_through_is_another_release(tmp_path: Path) -> None:
    releases = Releases(Folder(tmp_path))
    written = releases.add(Release(1, "bot", "local", "", "", "", "", {}, evaluation_key="easy", scores={"perplexity": 5.0}))
    assert releases.number_for(written) == 1, "a crash came before it was live"
    harder = replace(written, evaluation_key="hard", scores={"perplexity": 50.0})
    added = releases.add(replace(harder, number=releases.number_for(harder)))
    assert (added.number, added.scores["perplexity"]) == (2, 50.0)
