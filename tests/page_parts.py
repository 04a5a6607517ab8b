"""A real browser, an endpoint of ours for it, and how people use its page."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving_parts import endpoint, release

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-sync", "--disable-component-update"),
]
expect.set_options(timeout=30_000)
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / ".llmspec"


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with endpoint(home, release(input_tokens=1024, output_tokens=300)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here; CI installs one")
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield made
        made.close()


def opened(browser: Browser, size: Any = DESK, **context: Any) -> Page:
    made = browser.new_context(viewport=size, permissions=["clipboard-read", "clipboard-write"], **context)
    page = made.new_page()
    page.set_default_timeout(60_000)
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose console stays silent: no fault of ours, nothing that its policy had to block."""
    faults: list[str] = []
    made = opened(browser)
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    yield made
    made.context.close()
    assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []


def at(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.locator("h1")).to_have_text("bot")
    return page


def ask(page: Page, text: str) -> None:
    """Ask, and wait for the end of the answer."""
    before = page.locator("article").count()
    page.get_by_label("Your question").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator("article")).to_have_count(before + 1)
    expect(page.locator("article").last).to_have_attribute("aria-busy", "false")


def facts(page: Page) -> list[str]:
    return page.locator("article.last .facts span").all_text_contents()


def chunk(**choice: Any) -> str:
    return "data: " + json.dumps({"id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": None, **choice}]}) + "\n\n"


@contextlib.contextmanager
def answers_slowly(page: Page, *pieces: str) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Let an answer come in these pieces, one for each release of the semaphore. The event: the page hung up."""
    more, left = threading.Semaphore(0), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for piece in pieces:
                more.acquire()
                self.wfile.write(chunk(delta={"content": piece}).encode())
                self.wfile.flush()
            if not self.rfile.read(1):  # it sends nothing more: this returns when it closes the connection
                left.set()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            page.route("**/v1/chat/completions", lambda route: route.continue_(url=f"http://127.0.0.1:{server.server_port}/"))
            yield more, left
        finally:
            page.unroute("**/v1/chat/completions")
            server.shutdown()


def answers_with(page: Page, *pieces: str, finish: str = "stop") -> None:
    """Let every answer be this text: what a model might say, and ours does not."""
    body = "".join(chunk(delta={"content": piece}) for piece in pieces) + chunk(delta={}, finish_reason=finish)
    body += (
        "data: " + json.dumps({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}) + "\n\n"
    )
    headers = {"content-type": "text/event-stream", "x-llmspec-release": "1"}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body + "data: [DONE]\n\n", headers=headers))
