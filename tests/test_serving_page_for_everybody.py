"""The page at `/` for everybody: on every screen, in every light, by keyboard alone, and with every figure it promises."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_parts import DESK, PHONE, answers_with, ask, at, opened
from playwright.sync_api import Browser, Page, expect
from serving_parts import endpoint, release

from backends.serving.page import FOLDER
from llmspec.keys import Keys

pytest_plugins = ["page_parts"]


def contrasts(page: Page) -> list[tuple[float, str]]:
    """Of every visible text against what is behind it, as WCAG reckons it."""
    found = page.evaluate("""() => {
        const light = (rgb) => rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const behind = (it) => { for (; it; it = it.parentElement) {
            const colour = parts(getComputedStyle(it).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
        } };
        const inside = (it) => [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const shown = [...document.querySelectorAll("body *:not(:disabled, noscript)")].filter((it) => it.checkVisibility());
        const texts = shown.filter((it) => it.matches("input, textarea") || inside(it));
        return texts.map((it) => {
            const own = getComputedStyle(it, it.matches(":placeholder-shown") ? "::placeholder" : null).color;
            const both = [light(parts(own).slice(0, 3)), light(behind(it))];
            const where = `${it.tagName} ${it.className} ${it.textContent.slice(0, 30)}`;
            return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), where];
        });
    }""")
    return [(float(ratio), str(where)) for ratio, where in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_text_can_be_read_and_nothing_is_wider_than_the_screen(browser: Browser, url: str, size: Any, scheme: str) -> None:
    page = at(opened(browser, size, color_scheme=scheme), url)
    answers_with(page, "Read [this](https://shop.example) and `" + "long" * 40 + "`\n\n```\n" + "wide " * 40 + "\n```\n")
    ask(page, "a" * 200)
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("button", name="Correct it").click()
    page.unroute("**/v1/chat/completions")
    ask(page, "Why? " * 2000)
    for panel in ("true", "false"):
        if page.locator("#panel-toggle").get_attribute("aria-expanded") != panel:
            page.locator("#panel-toggle").click()
        seen = contrasts(page)
        assert len(seen) > 10
        assert [(ratio, where) for ratio, where in seen if ratio < 4.5] == []
        places = page.locator("html, #scroll, #panel").evaluate_all("them => them.map((it) => it.scrollWidth - it.clientWidth)")
        assert [extra for extra in places if extra > 0] == []
    paper = {"light": "rgb(250, 250, 248)", "dark": "rgb(21, 22, 20)"}[scheme]
    expect(page.locator("body")).to_have_css("background-color", paper)
    page.context.close()


def test_the_smallest_phone_shows_the_products_name_beside_the_button_for_a_key(browser: Browser, tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(output_tokens=5)) as url:
        text = Keys(tmp_path / ".llmspec" / "access" / "bot-local").create("a visitor", "user")[1]
        page = opened(browser, {"width": 320, "height": 560})
        page.goto(url)
        page.get_by_label("Key", exact=True).fill(text)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("bot")
        expect(page.get_by_role("button", name="Key", exact=True)).to_be_visible()
        page.evaluate("document.querySelector('h1').textContent = 'support-bot'")
        places = page.locator("html, header").evaluate_all("them => them.map((it) => it.scrollWidth - it.clientWidth)")
        assert places == [0, 0]
        assert page.locator("h1").evaluate("it => it.clientWidth") >= 60
        page.context.close()


def test_the_list_of_what_it_takes_is_no_wider_than_a_phone(browser: Browser, url: str) -> None:
    page = opened(browser, PHONE)
    page.goto(f"{url}/docs")
    page.locator("details").evaluate_all("them => them.forEach((it) => (it.open = true))")
    assert page.locator("td").count() > 100
    assert page.locator("html").evaluate("it => it.scrollWidth - it.clientWidth") == 0
    page.context.close()


def test_everything_can_be_done_by_keyboard_alone_and_the_focus_is_always_seen(browser: Browser, url: str) -> None:
    page = at(opened(browser, PHONE, reduced_motion="reduce"), url)

    def walk(name: str) -> None:
        """Tab on until this has the focus."""
        for _ in range(40):
            page.keyboard.press("Tab")
            seen = page.evaluate("""() => {
                const it = document.activeElement, style = getComputedStyle(it);
                const label = it.getAttribute("aria-label") || it.labels?.[0]?.firstChild?.textContent || it.textContent;
                return [it === document.body ? null : label.trim(), style.outlineStyle, style.outlineWidth];
            }""")
            if seen[0] is not None:
                assert seen[1:] == ["solid", "2px"], seen
            if seen[0] == name:
                return
        pytest.fail(f"Tab never comes to '{name}'")

    walk("Controls")
    page.keyboard.press("Enter")
    walk("Temperature")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#control-temperature + .value")).to_have_text("0.05")
    page.keyboard.press("Escape")
    expect(page.locator("#panel-toggle")).to_be_focused()
    walk("Your question")
    page.keyboard.type("Hello there")
    walk("Send")
    page.keyboard.press("Enter")
    expect(page.locator("article.last .facts")).to_contain_text("release 1")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    walk("Good answer")
    page.keyboard.press("Space")
    expect(page.get_by_text("Thank you")).to_be_visible()
    walk("Correct it")
    page.keyboard.press("Enter")
    expect(page.get_by_label("What it should have said")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Correct it")).to_be_focused()
    page.context.close()


def test_every_figure_that_the_page_reads_is_exported_and_drawn(page: Page, url: str) -> None:
    read_by_the_page = set(re.findall(r"vllm:\w+", (FOLDER / "load.js").read_text(encoding="utf-8")))
    assert len(read_by_the_page) == 8
    exported = set(re.findall(r"^# TYPE (\S+)", httpx.get(f"{url}/metrics").text, re.MULTILINE))
    assert read_by_the_page <= exported
    page.clock.install()
    at(page, url)
    expect(page.locator("figure .value").first).to_have_text("0")
    ask(page, "Hello there")
    page.clock.run_for(4000)
    for title, lines in (("Requests", 2), ("Tokens a second", 1), ("First token", 2), ("Whole answer", 2)):
        values = page.locator("figure", has=page.get_by_role("heading", name=title)).locator(".value")
        for number in range(lines):
            expect(values.nth(number)).not_to_have_text("–")
