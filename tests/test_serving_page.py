"""The page at `/`, in a real browser against a real endpoint: as people use it, and as nobody should be able to misuse it."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_parts import answers_slowly, answers_with, ask, at, facts
from playwright.sync_api import Page, expect
from serving_parts import endpoint, eventually, release

from backends.places import local_endpoint
from backends.serving.page import FILES, FOLDER
from llmspec.journal import feedback, read
from llmspec.keys import Keys

pytest_plugins = ["page_parts"]


# talking


def test_a_question_is_answered_with_its_facts(page: Page, url: str) -> None:
    at(page, url)
    expect(page.get_by_text("Ask it something")).to_be_visible()
    ask(page, "Hello there")
    expect(page.get_by_text("Ask it something")).to_be_hidden()
    whole = httpx.post(
        f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello there"}]}, timeout=30
    ).json()
    said = whole["choices"][0]["message"]["content"]
    page.get_by_label("Copy the answer").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == said
    assert page.locator("#announce").text_content() == said  # what a screen reader says
    end, *times, tokens, number = facts(page)
    assert (end, number) == ("cut at the limit", "release 1")
    assert tokens == f"{whole['usage']['prompt_tokens']} tokens in, 300 out"
    assert re.fullmatch(r"[\d.]+ m?s to the first token", times[-1])


def test_the_speed_of_an_answer_is_that_of_the_tokens_after_the_first(page: Page, url: str) -> None:
    turn = {"question": "?", "answer": "!", "id": "chatcmpl-1", "finish": "stop", "release": "7", "first": 0.25, "seconds": 1.25}
    whole = turn | {"usage": {"prompt_tokens": 12, "completion_tokens": 61}}
    at_once = whole | {"seconds": 0.251}
    kept = json.dumps({"turns": [whole, at_once, turn | {"finish": "stopped"}]})
    page.add_init_script(f"localStorage['llmspec.bot'] = {json.dumps(kept)}")
    at(page, url)
    first, last = "250 ms to the first token", "release 7"
    assert [article.locator(".facts span").all_text_contents() for article in page.locator("article").all()] == [
        ["complete", "60.0 tokens/s", first, "12 tokens in, 61 out", last],
        ["complete", first, "12 tokens in, 61 out", last],
        ["stopped by you", first, last],
    ]


def test_what_was_said_before_is_sent_along(page: Page, url: str) -> None:
    ask(at(page, url), "Hello there")
    first = page.locator("#announce").text_content()
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Tell me more")
    body = json.loads(sent.value.post_data or "")
    turns = [("user", "Hello there"), ("assistant", first), ("user", "Tell me more")]
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == turns
    assert set(body) == {"messages", "stream", "stream_options"}  # untouched controls ask for nothing


@pytest.mark.parametrize("how", ["button", "escape"])
def test_the_text_grows_as_it_comes_and_a_stopped_answer_stays(page: Page, url: str, how: str) -> None:
    at(page, url)
    answer = page.locator("article.last .answer")
    with answers_slowly(page, "One", " two", " **three**", " never") as (more, left):
        page.get_by_label("Your question").fill("Count")
        page.keyboard.press("Enter")
        for grown in ("One", "One two", "One two three"):
            more.release()
            expect(answer).to_have_text(grown)
        expect(page.locator("article.last")).to_have_attribute("aria-busy", "true")
        if how == "button":
            page.get_by_role("button", name="Stop").click()
        else:
            page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        more.release()
        assert left.wait(10)
    assert facts(page)[0] == "stopped by you"
    page.reload()
    expect(answer).to_have_text("One two three")
    assert facts(page)[0] == "stopped by you"


def test_shift_enter_breaks_the_line_and_enter_sends(page: Page, url: str) -> None:
    at(page, url)
    field = page.get_by_label("Your question")
    field.press_sequentially("one")
    page.keyboard.press("Shift+Enter")
    field.press_sequentially("two")
    assert page.locator("article").count() == 0
    page.keyboard.press("Enter")
    expect(page.locator("article .question p")).to_have_text("one\ntwo")
    expect(field).to_have_value("")


def test_the_last_question_can_be_asked_again(page: Page, url: str) -> None:
    ask(at(page, url), "Hello there")
    first = page.locator("#announce").text_content()
    with page.expect_request("**/v1/chat/completions") as sent:
        page.locator("article.last").get_by_role("button", name="Ask again").first.click()
    assert len(json.loads(sent.value.post_data or "")["messages"]) == 1
    expect(page.locator("article")).to_have_count(1)
    expect(page.locator("#announce")).to_have_text(str(first))


def test_the_conversation_is_there_after_a_reload_until_a_new_one_is_begun(page: Page, url: str) -> None:
    ask(at(page, url), "Hello there")
    ask(page, "And then?")
    before, shown = page.locator(".answer").all_text_contents(), facts(page)
    page.reload()
    expect(page.locator("article")).to_have_count(2)
    assert (page.locator(".answer").all_text_contents(), facts(page)) == (before, shown)
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_text("Ask it something")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The endpoint answers")).to_be_visible()
    assert page.locator("article").count() == 0


def test_controls_send_what_differs_from_neutral_and_reset_forgets_it(page: Page, url: str) -> None:
    at(page, url)
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Top p").fill("0.9")
    page.get_by_label("Most tokens").fill("5")
    page.get_by_label("Top k").fill("40")
    page.get_by_label("Min p").fill("0.02")
    page.get_by_label("Repetition penalty").fill("1.1")
    page.get_by_label("Presence penalty").fill("0.2")
    page.get_by_label("Frequency penalty").fill("-0.3")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Stop").fill("never said\n\\n\\n")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Hello there")
    wanted: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.02, "max_tokens": 5, "seed": 7}
    wanted |= {"repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": -0.3, "stop": ["never said", "\n\n"]}
    body = json.loads(sent.value.post_data or "")
    assert {name: body[name] for name in body if name not in ("messages", "stream", "stream_options")} == wanted
    assert facts(page)[0] == "cut at the limit"
    page.reload()
    expect(page.locator("#changed")).to_have_text(re.compile(r"temperature 0\.7, top p 0\.9, top k 40, .*, seed 7, 2 stop texts"))
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#changed")).to_have_text("")
    page.get_by_label("Most tokens").fill("0")
    page.get_by_label("Your question").fill("Is this sent?")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Most tokens")).to_be_focused()  # the browser says there what is wrong
    assert page.locator("article").count() == 1


# what people think of an answer


def test_thumbs_and_a_correction_reach_the_journal_beside_their_answer(page: Page, url: str, home: Path) -> None:
    ask(at(page, url), "Hello there")
    answer = str(page.locator("#announce").text_content())
    up = page.get_by_role("button", name="Good answer")
    up.click()
    expect(page.get_by_text("Thank you")).to_be_visible()
    expect(up).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Correct it").click()
    field = page.get_by_label("What it should have said")
    expect(field).to_be_focused()
    expect(field).to_have_value(answer)
    field.fill("Something better")
    page.get_by_label("Comment").fill("It rambles")
    page.get_by_role("button", name="Send the correction").click()
    expect(page.get_by_text("Thank you for the correction")).to_be_visible()
    up.click()
    expect(page.get_by_text("Taken back")).to_be_visible()
    page.reload()
    expect(up).to_have_attribute("aria-pressed", "false")
    journal = home / "journal" / "bot-local"
    eventually(lambda: len(list(feedback(journal))) == 3)
    said = list(feedback(journal))
    assert [(line["rating"], line["correction"], line["comment"]) for line in said] == [
        ("up", None, None),
        ("up", "Something better", "It rambles"),
        (None, None, None),
    ]
    about = {line["feedback"] for line in said}
    assert [line["answer"] for line in read(journal) if line["id"] in about] == [answer]


def test_a_thumb_that_was_not_kept_is_not_shown(page: Page, url: str) -> None:
    ask(at(page, url), "Hello there")
    page.evaluate("""() => {
        const kept = JSON.parse(localStorage["llmspec.bot"]);
        kept.turns[0].id = "chatcmpl-" + "0".repeat(32); // an answer that the journal has forgotten
        const page = JSON.stringify(kept);
        addEventListener("pagehide", () => { localStorage["llmspec.bot"] = page; });
    }""")
    page.reload()
    down = page.get_by_role("button", name="Bad answer")
    down.click()
    expect(page.get_by_text("Not kept: No answer 'chatcmpl-000")).to_be_visible()
    expect(down).to_have_attribute("aria-pressed", "false")


# when something is wrong


def test_a_refusal_is_shown_in_its_words(page: Page, url: str) -> None:
    at(page, url)
    ask(page, "Why? " * 2000)
    expect(page.get_by_role("alert").last).to_contain_text("at most 1,024 are taken (limits.input_tokens). A new conversation")
    ask(page, "Hello there")  # what was not answered is not sent along
    expect(page.locator("article.last .error-text")).to_be_hidden()


def test_a_question_too_many_is_counted_down(page: Page, url: str) -> None:
    at(page, url)
    page.clock.install()
    refusal = {"error": {"message": "all places are taken, and so is the queue", "code": "queue_full"}}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, headers={"retry-after": "3"}, json=refusal))
    ask(page, "Hello there")
    expect(page.get_by_role("alert").last).to_have_text("All places are taken, and so is the queue.")
    expect(page.get_by_text("Ask again in 3 s")).to_be_disabled()
    page.clock.run_for(2000)
    expect(page.get_by_text("Ask again in 1 s")).to_be_disabled()
    page.clock.run_for(1500)
    page.unroute("**/v1/chat/completions")
    page.get_by_text("Ask again", exact=True).click()
    page.clock.resume()
    expect(page.locator("article.last .facts")).to_contain_text("release 1")


def test_an_endpoint_that_is_gone_is_looked_for_until_it_is_back(page: Page, url: str) -> None:
    at(page, url)
    page.context.set_offline(True)
    ask(page, "Hello there")
    expect(page.get_by_role("alert").last).to_have_text("The endpoint cannot be reached.")
    expect(page.locator("#banner")).to_contain_text("Looking for it again")
    page.context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden()
    page.get_by_text("Ask again", exact=True).click()
    expect(page.locator("article.last .facts")).to_contain_text("release 1")


def test_an_answer_that_breaks_off_keeps_what_had_come(page: Page, url: str) -> None:
    at(page, url)
    body = 'data: {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "Half an"}}]}\n\n'
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(page, "Hello there")
    expect(page.locator("article.last .answer")).to_have_text("Half an")
    expect(page.get_by_role("alert").last).to_have_text("The connection broke off in the middle of the answer.")
    assert facts(page)[0] == "broken off"


def test_an_answer_that_a_guard_held_back_says_so(page: Page, url: str) -> None:
    at(page, url)
    answers_with(page, "Up to here", finish="content_filter")
    ask(page, "Hello there")
    expect(page.locator("article").get_by_text("A guard of this endpoint held this answer back.")).to_be_visible()
    assert facts(page)[0] == "held back by a guard"
    assert page.locator("#announce").text_content() == "Up to here A guard of this endpoint held this answer back."
    page.unroute("**/v1/chat/completions")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Something else")
    assert len(json.loads(sent.value.post_data or "")["messages"]) == 1  # it would be held back again


def test_the_page_follows_a_swap_of_releases(page: Page, tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(1, output_tokens=5)) as url:
        ask(at(page, url), "Hello there")
        local_endpoint.serve(release(2, seed=1, output_tokens=5))
        for _ in range(8):  # a browser keeps up to six connections, and each to the old worker ends with its next answer
            ask(page, "And now?")
            if facts(page)[-1] == "release 2":
                break
        expect(page.get_by_text("From here on release 2 answers; before it was release 1.")).to_be_visible()
        expect(page.locator("#release")).to_have_text("release 2")


def test_a_context_is_asked_for_where_the_template_reads_one(page: Page, tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(form="context_qa", output_tokens=5)) as url:
        at(page, url)
        page.locator("#composer summary").click()
        page.get_by_label("Context").fill("Kettles are on shelf 4.")
        with page.expect_response("**/v1/chat/completions") as answer:
            ask(page, "Where are kettles?")
        assert json.loads(answer.value.request.post_data or "")["context"] == "Kettles are on shelf 4."
        assert facts(page)[0] == "cut at the limit"
        page.locator("article .given summary").click()
        expect(page.locator("article .given p")).to_have_text("Kettles are on shelf 4.")


def test_no_context_is_asked_for_where_none_is_read(page: Page, url: str) -> None:
    expect(at(page, url).get_by_label("Context")).to_be_hidden()


# safety


def test_markup_in_an_answer_or_a_question_does_nothing(page: Page, url: str) -> None:
    at(page, url)
    attack = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    answers_with(
        page,
        attack,
        "\n\n**<b onclick=x>**\n\n```\n</code><iframe src=/>\n```\n[x](javascript:alert(1)) ![p](https://evil.example/?q=1)",
    )
    ask(page, attack)
    page.reload()
    expect(page.locator("article .answer p").first).to_have_text(attack)
    expect(page.locator("article .question p")).to_have_text(attack)
    assert page.title() == "bot"
    assert page.locator("article :is(img, script, iframe, b)").count() == 0
    assert page.locator("article a").evaluate_all("links => links.map((link) => link.protocol)") == ["https:"]


def test_a_small_part_of_markdown_is_shown_as_it_is_meant(page: Page, url: str) -> None:
    at(page, url)
    text = (
        "# Returns\nYou have **30 days**, *not* `31`; 2 * 3 * 4 and snake_case_name stay.\n\n1. Print\n   - the label\n2. Send\n\n"
    )
    answers_with(page, text, "See [the _shop_](https://shop.example/a?b=1).\n\n```python\nif a < b:\n    **no**\n")
    ask(page, "Hello there")
    answer = page.locator("article.last .answer")
    assert answer.locator("> *").evaluate_all("them => them.map((it) => it.tagName)") == ["P", "P", "OL", "P", "PRE"]
    assert answer.locator("strong").all_text_contents() == ["30 days"]
    assert answer.locator("em").all_text_contents() == ["not", "shop"]
    assert answer.locator("ol > li > ul > li").all_text_contents() == ["the label"]
    assert answer.locator("pre").text_content() == "if a < b:\n    **no**\n"
    link = answer.locator("a")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(answer.locator("p").last).to_have_text("See the shop (shop.example).")


def test_an_answer_without_sense_is_shown_at_once(page: Page, url: str) -> None:
    at(page, url)
    nonsense = ["- " * 3000, "x" + "`" * 3000, "**a " * 3000, "*" * 3000, "[" * 3000, "_a" * 3000, "1. " * 3000, " " * 3000 + "x"]
    answers_with(page, *(line + "\n\n" for line in nonsense))
    ask(page, "Hello there")
    shown = page.locator("article.last .answer").text_content()
    assert shown is not None
    assert shown.count("`") == 3000


def test_a_key_is_asked_for_kept_in_the_tab_only_and_asked_for_again_when_it_is_revoked(page: Page, tmp_path: Path) -> None:
    with endpoint(tmp_path / ".llmspec", release(output_tokens=5)) as url:
        keys = Keys(tmp_path / ".llmspec" / "access" / "bot-local")
        key, text = keys.create("a visitor", "user")
        page.goto(url)
        field = page.get_by_label("Key", exact=True)
        for tried in ("llms_wrong", text):
            expect(field).to_be_focused()
            expect(field).to_have_attribute("type", "password")
            field.fill(tried)
            page.keyboard.press("Enter")
            if tried != text:
                expect(page.get_by_role("alert")).to_be_visible()
        expect(page.locator("h1")).to_have_text("bot")
        ask(page, "Hello there")
        assert facts(page)[0] == "cut at the limit"
        expect(page.get_by_text("This key may not read the figures.")).to_be_visible()
        expect(page.get_by_text("Tokens a second")).to_be_hidden()
        assert text not in page.url + json.dumps(page.evaluate("({ ...localStorage })"))
        assert page.evaluate("Object.values(sessionStorage)") == [text]
        keys.revoke(key.id)
        ask(page, "Still there?")
        field.fill(keys.create("the visitor again", "developer")[1])
        page.keyboard.press("Enter")
        expect(page.locator("article.last .facts")).to_contain_text("release 1")  # what was refused is asked again
        expect(page.get_by_text("Tokens a second")).to_be_visible()


def test_the_pages_files_are_strict_small_and_asked_about_before_they_are_used_again(url: str) -> None:
    assert sum(file.stat().st_size for file in FILES.values()) <= 60_000
    assert set(FILES) >= {"/", "/page/app.js", "/page/style.css"}
    for path in FILES:
        answer = httpx.get(url + path)
        assert answer.status_code == 200
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert not re.search(r"unsafe|data:|\*|script-src|style-src", str(policy))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        again = httpx.get(url + path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert httpx.head(url + path).status_code == 200
    assert httpx.get(f"{url}/page/../page.py").status_code == 404
    sources = "".join(file.read_text(encoding="utf-8") for file in FILES.values())
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=", sources)
    assert set(FOLDER.iterdir()) == set(FILES.values())
