"""In JSON, what a string says is guarded, however it is spelt, and masked JSON is JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from guard_tables import output_html, pii, secrets, system_prompt_leak
from hypothesis import given
from hypothesis import strategies as st
from test_guards_output import EVERY, NO_CODE, cut, guards, through

from backends.serving.journal import Journal
from llmspec.journal import read

KEY = "sk-abcdefghijklmnop1234567890"
SPELT = [
    (rf'{{"a" : "key:\n{KEY}"}}', {"a": "key:\n[SECRET]"}),
    (r'{"a": "\nAKIAABCDEFGHIJKLMNOP"}', {"a": "\n[SECRET]"}),
    (r'{"a": "call:\n+49 170 1234567"}', {"a": "call:\n[PHONE]"}),
    (r'{"a": "call: +49\n170\t1234567 now"}', {"a": "call: [PHONE] now"}),
    (r'{"a": "+49 170\n 1234567 now"}', {"a": "[PHONE] now"}),
    (r'{"a": "ssn\n078-05-1120"}', {"a": "ssn\n[SSN]"}),
    (r'{"a": "iban\nDE89 3704 0044 0532 0130 00"}', {"a": "iban\n[IBAN]"}),
    (r'{"a": "contact:\nbob@x.org"}', {"a": "contact:\n[EMAIL]"}),
    (r'{"a": "contact:\u000Abob@x.org\tann@x.org\r\n"}', {"a": "contact:\n[EMAIL]\t[EMAIL]\r\n"}),
    (r'{"a": "\u0062ob@x.org"}', {"a": "[EMAIL]"}),
    (r'{"a": "say \"bob@x.org\" \\n or \\bob@x.org \ud83d\ude00"}', {"a": 'say "[EMAIL]" \\n or \\[EMAIL] 😀'}),
    (r'{"a": "password:\nhunter22"}', {"a": "password:\n[SECRET]"}),
    (r'{"a": "**Password:**\n\n```\nhunter22\n```"}', {"a": "**Password:**\n\n```\n[SECRET]\n```"}),
    (r'{"password": "hunter\n22"}', {"password": "[SECRET]"}),
    (r'{"a": "-----BEGIN RSA PRIVATE KEY-----\nMIIE", "b": "x y"}', {"a": "[SECRET]", "b": "x y"}),
]
WORDS = [*pii.ATTACKS, *pii.HARMLESS, *secrets.ATTACKS, "\n", "\t", "\\", "\\n", '"', " "]
BOTH = ["secrets", {"pii": ["email", "phone", "credit_card", "iban", "ssn"]}]


@pytest.mark.parametrize(("spelt", "said"), SPELT, ids=range(len(SPELT)))
def test_escapes_are_read_wherever_the_tokens_fall(spelt: str, said: object) -> None:
    for size in (len(spelt), 1, 2, 3, 5, 7):
        told = through(guards(*BOTH).listener(json=True), cut(spelt, [size]))
        assert json.loads(told) == said


@given(
    text=st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4))).map("".join),
    ascii=st.booleans(),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
def test_masked_json_is_json_and_what_is_not_masked_is_as_it_was(text: str, ascii: bool, sizes: list[int]) -> None:
    spelt = json.dumps({"said": text}, ensure_ascii=ascii)
    listener = guards(*BOTH).listener(json=True)
    whole = through(guards(*BOTH).listener(json=True), [spelt])
    assert through(listener, cut(spelt, sizes)) == whole
    assert set(json.loads(whole)) == {"said"}
    if not listener.found:
        assert whole == spelt
    assert "ann@shop.example" not in json.loads(whole)["said"]


SHOWN = [*output_html.ATTACKS, *output_html.HARMLESS, *NO_CODE]


@pytest.mark.parametrize("text", SHOWN, ids=range(len(SHOWN)))
def test_what_a_string_says_is_made_safe_as_a_text_of_its_own(text: str) -> None:
    plain = through(guards(EVERY[2]).listener(), [text])
    spelt = json.dumps({"a": [text, "b"], "c": text})
    unescaped, escaped = (
        json.dumps({"a": [text, "b"], "c": text}, ensure_ascii=False),
        spelt.replace("<", r"\u003C").replace("/", r"\/"),
    )
    for answer in (spelt, unescaped, escaped):
        told = through(guards(EVERY[2]).listener(json=True), list(answer))
        assert json.loads(told) == {"a": [plain, "b"], "c": plain}
        assert told == answer or plain != text


def test_nothing_is_said_from_the_string_on_that_a_guard_blocks() -> None:
    listener = guards({"output_html": {"action": "block"}}).listener(json=True)
    assert through(listener, list(r'{"a": "b\n<script>", "c": "d"}')) == r'{"a": "b\n'
    assert listener.blocked == "output_html"


@pytest.mark.parametrize("spelt", [json.dumps, lambda text: "".join(f"\\u{ord(c):04x}" for c in text)], ids=["JSON", "codes"])
@pytest.mark.parametrize("gap", ["\n", "\t", " \n ", "</li>\n<li>", "\n- (1) "])
def test_the_system_prompt_is_noticed_in_json_line_by_line(gap: str, spelt: Callable[[str], str]) -> None:
    listener = guards("system_prompt_leak").listener(json=True)
    said = through(listener, list('{"a": "' + spelt(gap.join(system_prompt_leak.PROMPT.split())).strip('"') + '"}'))
    assert listener.blocked == "system_prompt_leak"
    assert "lamp" not in said.casefold()


@given(
    text=st.lists(st.one_of(st.sampled_from([*WORDS, *SHOWN, *system_prompt_leak.ATTACKS]), st.text(max_size=4))).map("".join),
    ascii=st.booleans(),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
def test_no_guard_of_json_depends_on_the_pieces(text: str, ascii: bool, sizes: list[int]) -> None:
    spelt = json.dumps({"said": text, "b": [text]}, ensure_ascii=ascii)
    whole, pieced = guards(*EVERY).listener(json=True), guards(*EVERY).listener(json=True)
    said = through(whole, [spelt])
    assert through(pieced, cut(spelt, sizes)) == said
    assert (pieced.found, pieced.blocked) == (whole.found, whole.blocked)
    if not whole.blocked:
        assert set(json.loads(said)) == {"said", "b"}
    if not whole.found:
        assert said == spelt


def test_an_answer_that_is_cut_within_an_escape_is_said_as_far_as_it_came() -> None:
    for cut_off in ('{"a": "b\\', '{"a": "b\\u00', '{"a": "\\n\\/\\u00e9 \\uD83D'):
        assert through(guards(*EVERY).listener(json=True), list(cut_off)) == cut_off


@pytest.mark.parametrize("spelt", [spelt for spelt, _ in SPELT[:10]], ids=range(10))
def test_the_journal_reads_escapes_too(tmp_path: Path, spelt: str) -> None:
    journal = Journal(tmp_path)
    journal.write(id="1", question="see C:\\new\\x.txt\n", answer=f"```json\n{spelt}\n```", found=[])
    journal.close()
    (line,) = read(tmp_path)
    assert line["question"] == "see C:\\new\\x.txt\n"
    assert json.loads(line["answer"].removeprefix("```json\n").removesuffix("\n```"))
    for private in (KEY, "AKIAABCDEFGHIJKLMNOP", "1234567", "bob@", "\\u0062ob"):
        assert private not in line["answer"]
