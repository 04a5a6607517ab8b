"""Dagster's real webserver, in a real browser: an asset is materialised by hand, and its page tells what came of it."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Project
from playwright.sync_api import Browser, Page

pytest_plugins = ["page_parts"]

RUNS = "{ runsOrError(limit: 20) { ... on Runs { results { status tags { key value } assetSelection { path } } } } }"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    shown = browser.new_page(viewport={"width": 1500, "height": 1100})
    shown.set_default_timeout(60_000)
    yield shown
    shown.close()


@pytest.fixture(scope="module")
def shown(applied_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder with an applied spec and a broken one."""
    made = applied_once.copy(tmp_path_factory.mktemp("ui") / "shop")
    specs = made.folder / "specs"
    specs.mkdir()
    for name in ("tiny.yaml", "rows.jsonl"):
        shutil.move(made.folder / name, specs / name)
    (specs / "broken.yaml").write_text(TINY.replace("epochs", "epoks").replace("name: tiny", "name: broken"))
    return made


@pytest.fixture(scope="module")
def ui(shown: Project) -> Iterator[str]:
    """`llmspec dev`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (shown.folder / "dev.log").open("w")
    server = subprocess.Popen(
        shown.command("dev", "--port", str(port)), cwd=shown.folder, env=shown.environment(), stdout=log, stderr=log
    )
    try:
        _until(lambda: _answers(port), "the webserver answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shown.run("stop", "specs/tiny.yaml", check=False)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(true: Any, what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


def runs(ui: str) -> list[dict[str, Any]]:
    asked = urllib.request.Request(
        f"{ui}/graphql", json.dumps({"query": RUNS}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found = json.load(answer)["data"]["runsOrError"]["results"]
    assert isinstance(found, list)
    return found


def test_an_asset_materialised_in_the_browser_reports_what_apply_would(ui: str, page: Page, shown: Project, tmp_path: Path) -> None:
    before, known = shown.digests(), len(runs(ui))
    page.goto(f"{ui}/assets/tiny/features")
    page.get_by_text("max_tokens: 64").first.wait_for()
    page.get_by_role("button", name="Materialize").first.click()
    _until(lambda: len(runs(ui)) > known and runs(ui)[0]["status"] in ("SUCCESS", "FAILURE"), "the run ends")
    assert runs(ui)[0]["status"] == "SUCCESS"
    page.goto(f"{ui}/assets/tiny/features")
    page.get_by_text("reused", exact=True).first.wait_for()
    page.get_by_text("truncated", exact=True).first.wait_for()
    page.screenshot(path=str(tmp_path / "features.png"))
    assert shown.digests() == before


def test_a_bad_spec_shows_its_error_beside_the_good_ones(ui: str, page: Page, tmp_path: Path) -> None:
    page.goto(f"{ui}/assets/invalid/broken")
    page.get_by_text("did you mean 'epochs'").first.wait_for()
    page.screenshot(path=str(tmp_path / "broken.png"))
    page.goto(f"{ui}/assets/tiny/evaluation")
    page.get_by_text("perplexity", exact=True).first.wait_for()
    page.screenshot(path=str(tmp_path / "evaluation.png"), full_page=True)
