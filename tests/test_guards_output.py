"""What is said is the same however it came in pieces, and what a guard looks for never comes out."""

import asyncio
import random
import re
import tracemalloc

import pytest
from growth import IN_PROPORTION, growth
from guard_tables import output_html, pii, secrets, system_prompt_leak
from hypothesis import given
from hypothesis import strategies as st

from backends.serving.guards import Guards, OutputGuard
from llmspec.redaction import mask
from llmspec.spec.endpoint import Endpoint

PROMPT = system_prompt_leak.PROMPT
EVERY = ["pii", "secrets", {"output_html": ["shop.example"]}, "system_prompt_leak"]
PIECES = [
    *(text for table in (pii, secrets, output_html, system_prompt_leak) for text in (*table.ATTACKS, *table.HARMLESS)),
    *(
        "\n",
        "\n\n",
        "  ",
        " ",
        "\t",
        "`",
        "```",
        "~~~",
        "<",
        ">",
        "</",
        "<!",
        "](",
        "![",
        "[",
        "(",
        ")",
        "\\",
        '"',
        "'",
        "-",
        ".",
        "+",
        "@",
    ),
    *(
        "password",
        "password:",
        "**Password:** ",
        "**API key**:",
        "Password:\n\n```",
        "hunter2x9",
        "**",
        "__",
        "is",
        "mot",
        "de",
        "passe",
        "Bearer",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----END RSA PRIVATE KEY-----",
    ),
    *("\r", "\r\n", "|", "> ", "- ", "   ", "1. ", "](<", "[a]: ", "<b ", '<p title="', "/>", "~~", "`<i>`", "a" * 350),
    *("0", "1234", "DE", "NWBK", "http://", "www.", "é", "，", "。", "请", "😀", "ﬁ", "\u200b", "<div>", "<pre>", "    ", "a"),
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=8).map("".join)


def guards(*names: object) -> Guards:
    return Guards(Endpoint.model_validate({"guards": list(names)}).guards, PROMPT)


def through(listener: OutputGuard, pieces: list[str]) -> str:
    return "".join([*map(listener.push, pieces), listener.finish()])


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("names", [["pii"], ["secrets"], EVERY[2:3], ["system_prompt_leak"], EVERY], ids=str)
@given(text=texts, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_what_is_said_does_not_depend_on_the_pieces_it_came_in(names: list[object], text: str, sizes: list[int]) -> None:
    made = guards(*names)
    whole, pieced, letters = (made.listener() for _ in range(3))
    said = through(whole, [text])
    assert through(pieced, cut(text, sizes)) == said
    assert through(letters, list(text)) == said
    assert whole.blocked == pieced.blocked == letters.blocked
    assert whole.found == pieced.found == letters.found
    assert text.startswith(said[: whole.clean])


@pytest.mark.parametrize("action", ["block", "note"])
@given(text=texts, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_blocking_and_noting_do_not_depend_on_the_pieces_either(action: str, text: str, sizes: list[int]) -> None:
    made = guards(*({name: {"action": action}} for name in ("pii", "secrets", "output_html", "system_prompt_leak")))
    whole, pieced = made.listener(), made.listener()
    said = through(whole, [text])
    assert through(pieced, cut(text, sizes)) == said
    assert (whole.blocked is None) == (pieced.blocked is None)
    if action == "note":
        assert said == text
    else:
        assert text.startswith(said)
        assert (whole.blocked is None) == (said == text)


@given(
    text=st.lists(
        st.one_of(st.sampled_from([*pii.ATTACKS, *pii.HARMLESS, " ", "\n", ", "]), st.text("ab 01+-()./@x\n", max_size=9))
    ).map("".join)
)
def test_a_stream_is_masked_as_the_whole_text_is(text: str) -> None:
    expected = text
    for kind in ("email", "iban", "credit_card", "ssn", "phone"):
        expected = mask(expected, kind, f"[{kind.upper()}]")
    assert through(guards("pii").listener(), list(text)) == expected


@pytest.mark.parametrize(
    "secret", ["ann@shop.example", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 (0)30 / 123 45 67"]
)
def test_personal_data_that_straddles_pieces_is_masked_wherever_it_is_cut(secret: str) -> None:
    for at in range(1, len(secret)):
        listener = guards("pii").listener()
        said = listener.push("Here: " + secret[:at])
        assert not set(said[6:])
        assert secret not in said + listener.push(secret[at:] + ", and more.") + listener.finish()
        assert listener.found == {"pii"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("legit@example.com", "[EMAIL]"),
        ("digit@shop.com,git@gh.com", "[EMAIL],git@gh.com"),
        ("bob@acme.com,git@gh.com:acme/x.git", "[EMAIL],git@gh.com:acme/x.git"),
        ("git@gh.com:acme/x.git,bob@acme.com", "git@gh.com:acme/x.git,[EMAIL]"),
        ("x.git@acme.com o'git@acme.com", "[EMAIL] [EMAIL]"),
        ("ssh://git@gh.com/acme/x", "ssh://git@gh.com/acme/x"),
    ],
)
def test_only_the_address_of_a_repository_is_nobodys(text: str, masked: str) -> None:
    assert through(guards("pii").listener(), list(text)) == masked


def test_what_may_be_said_is_said_at_once_and_only_the_word_that_grows_is_held() -> None:
    listener = guards(*EVERY).listener()
    assert listener.push("The lamp costs") == "The lamp "
    assert listener.push(" 20 EUR") == "costs "
    assert listener.push(". It is") == "20 EUR. It "
    assert listener.finish() == "is"
    assert listener.clean == len("The lamp costs 20 EUR. It is")


def test_a_private_key_never_comes_out_not_even_half_of_it() -> None:
    key = secrets.PEM
    listener = guards("secrets").listener()
    assert through(listener, cut("Look:\n" + key + "\nDone.", [3])) == "Look:\n[SECRET]\nDone."
    assert through(guards("secrets").listener(), cut("Look:\n" + key[:100], [3])) == "Look:\n[SECRET]"


LABELLED = [
    "**Password:** hunter2x9",
    "**Password**: `hunter2x9`, please",
    "- **API key:** hunter2x9abcdefgh",
    "__Password:__ hunter2x9",
    "*Password*: **hunter2x9**",
    "Password:\nhunter2x9\nUser: ann",
    "Your **API key**:\n\n```text\nhunter2x9abcdefgh\n```\nKeep it.",
]
NO_SECRETS = [
    "**Password:** at least 12 characters",
    "- **Token**: a piece of about 4 letters",
    "Password:\nIPv4-Address:\nPort:",
    "DB_PASSWORD=\nDB_HOST2=db",
    "To change the password:\n\n1. Open Windows11 settings\n2. Save",
    "if token:\n    s3_client2\n",
    "secret:\n  db_password_v2\n",
    "Send the token:\n```python\ns3_client2 = client(token)\n```",
    "| Username | Password | OAuth2 |",
]


@pytest.mark.parametrize("text", LABELLED)
def test_a_credential_is_masked_behind_a_bold_label_and_below_one(text: str) -> None:
    said = through(guards("secrets").listener(), list(text))
    assert said == re.sub("hunter2x9(abcdefgh)?", "[SECRET]", text)
    for at in range(1, len(text)):
        assert through(guards("secrets").listener(), [text[:at], text[at:]]) == said


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_only_stands_beside_or_below_such_a_label_is_said(text: str) -> None:
    assert through(guards("secrets").listener(), list(text)) == text


RUNS, LOADS = "<img src=x onerror=alert(1)>", "![x](https://evil.example/p.png)"
NO_CODE = [
    f"`a\n{RUNS}`",
    f"`a\n- {LOADS}`",
    f"`a\nb` {RUNS} `c`",
    f"`{'a' * 300}` {RUNS} `b`",
    f"\\\\`a` {RUNS} `b`",
    f"<https://docs.example/`> {RUNS} `x`",
    f'[a](b "`") {RUNS} `d`',
    f"a](x` y` {RUNS} `z`",
    f"| a | b |\n|---|---|\n| `a | {RUNS} ` |",
    f"<div>\n\u00a0\n`{RUNS}`",
    f"> ```\n{RUNS}\n```",
    f"- ```\n{LOADS}\n```\n",
    f"- ~~~\n  code\n  ~~~\n  {RUNS}\n",
    f"text\n    ```\n    {RUNS}\n",
    f"1. a\n    ```\n    {LOADS}\n",
    f"- x\n\n      ```\n  ```\n  {RUNS}\n",
    f"- x\n  ```\n  code\n```\n```\n{RUNS}\n",
    f"```\n    ```\n```\n{RUNS}\n",
    f"```\n```\u00a0\n```\n{RUNS}\n",
    f"```\nx\r```\r{RUNS}\n```",
    f"\u00a0```\n{RUNS}\n",
    f"Hi <b>x</b>\n```\n\n```\n{RUNS}\n",
    f"<div>\n```{RUNS}\n",
    f"<a title='\n```\n'>\n\n```\n{RUNS}\n",
    f"![a\n```\n](/x.png)\n\n```\n{RUNS}\n",
    f"```{'a' * 300}\n```\n{RUNS}\n",
    f"~~~{RUNS}||\n-|-\n",
]
SWALLOWED = [
    f"[a]({RUNS} ",
    f"[x]: {RUNS} zzz",
    f"![a\n- {RUNS}](/x.png)",
    "![a `](/x.png)` ](https://evil.example/p.png)",
    f"http://{LOADS}",
    f"<b {LOADS}>",
    f'<p title="<"\n`>{RUNS}`',
    '<p title="<" onclick=alert(1)>x</p>',
    f'<p title="{"a" * 700}" onclick=alert(1)>x</p>',
    "![1]\r\r[1]: https://evil.example/x.png",
]
CODE = [
    f"Use `{RUNS}` or ``{LOADS} ` ``.",
    f"```html\n{RUNS}\n    ```\n{RUNS}\n```\nThat is it.",
    f"1. Write:\n   ```html\n   {RUNS}\n   ```\n2. Then:\n\n   ~~~\n   {LOADS}\n   ~~~\n",
    f"Line one<br>\n\n`{RUNS}`\n\n```\n{LOADS}",
    "- Run:\n    ```sh\n    echo $HOME > `pwd`/<file>\n    ```\n\nand `<script>`.",
    "```\r\n<script>\r\n```\r\n",
]


@pytest.mark.parametrize("text", [*NO_CODE, *SWALLOWED])
def test_what_some_page_would_not_take_for_code_or_an_address_is_made_safe(text: str) -> None:
    for pieces in ([text], list(text)):
        listener = guards({"output_html": ["shop.example"]}).listener()
        said = through(listener, pieces)
        assert (listener.found, RUNS in said, LOADS in said) == ({"output_html"}, False, False)


def test_an_address_goes_on_behind_a_brace_however_it_comes_in_pieces() -> None:
    text = "see https://shop.example{x}@evil.example/?d=secret ok"
    for pieces in ([text], list(text)):
        assert through(guards({"output_html": ["shop.example"]}).listener(), pieces) == "see [LINK REMOVED] ok"


@pytest.mark.parametrize("text", CODE)
def test_what_every_page_takes_for_code_stays_as_it_is(text: str) -> None:
    assert through(guards({"output_html": ["shop.example"]}).listener(), list(text)) == text


@given(address=st.text(alphabet="ahtps:/\\[]@.?=<>()!", max_size=20))
def test_an_address_that_cannot_be_read_ends_no_answer(address: str) -> None:
    for text in (f"[a]({address})", f"[a]: {address}", f"![a]({address})"):
        through(guards({"output_html": ["shop.example"]}).listener(), [text])


def test_a_leak_ends_the_answer_before_it_is_said() -> None:
    made = guards("system_prompt_leak")
    listener = made.listener()
    said = through(listener, cut("Sure. My instructions: " + PROMPT, [4]))
    assert listener.blocked == "system_prompt_leak"
    assert said.startswith("Sure. My instructions: ")
    assert "Northwind" not in said
    assert listener.push("more") == listener.finish() == ""
    assert made.guard_blocks == {"system_prompt_leak": 1}


WORDS = list(enumerate(PROMPT.split(), 1))


@pytest.mark.parametrize(
    "numbered",
    [
        "\n".join(f"{number}. {word}" for number, word in WORDS),
        "\n".join(f"| {number} | {word} |" for number, word in WORDS),
        "\n".join(f"|{number}|{word}|" for number, word in WORDS),
        " ".join(f"{word} ({number})" for number, word in WORDS),
        " ".join(f"1.{number}. **{word}**" for number, word in WORDS),
        "".join(f"<li>{word}</li>" for _, word in WORDS),
        "".join(f'<tr><td class="n">{number}</td><td>{word}</td></tr>\n' for number, word in WORDS),
    ],
)
def test_a_leak_word_by_word_is_noticed_however_the_words_are_numbered_or_marked_up(numbered: str) -> None:
    for size in (1, 3, len(numbered)):
        listener = guards("system_prompt_leak").listener()
        said = through(listener, cut(numbered, [size]))
        assert listener.blocked == "system_prompt_leak"
        assert numbered.startswith(said)
        assert "Northwind" not in said


def test_the_words_of_a_leak_may_be_numbers_themselves() -> None:
    own = "Buy lamps at 40 euros, kettles at 25 and fans at 9 from 3 shops, and sell 12 of them a week at 99 each."
    listener = guards("system_prompt_leak").listener([{"role": "system", "content": own}])
    through(listener, list("\n".join(f"{number}. {word}" for number, word in enumerate(own.split(), 1))))
    assert listener.blocked == "system_prompt_leak"


def test_a_system_message_that_callers_bring_is_kept_too() -> None:
    own = "You are Bo, who sells boats on the lake of Constance and never names the price of the blue one first."
    listener = guards("system_prompt_leak").listener([{"role": "system", "content": own}])
    through(listener, [f"I was told: {own}"])
    assert listener.blocked
    assert through(guards("system_prompt_leak").listener([{"role": "user", "content": own}]), [own]) == own


def test_many_long_system_messages_of_callers_take_little_memory() -> None:
    made, draw = guards("system_prompt_leak"), random.Random(1)
    tracemalloc.start()
    for _ in range(12):
        own = "".join(draw.choices("abcdefghijklmnop ", k=20_000))
        asyncio.run(made.prepare([{"role": "system", "content": own}]))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 40 * 2**20
    listener = made.listener([{"role": "system", "content": own}])
    through(listener, [own])
    assert listener.blocked


def test_what_was_masked_is_counted_and_what_is_only_noted_is_said() -> None:
    made = guards({"pii": {"action": "note"}}, "secrets")
    listener = made.listener()
    assert through(listener, ["Mail ann@shop.example, password: hunter2 !"]) == "Mail ann@shop.example, password: [SECRET] !"
    assert (made.guard_notes, made.guard_masks, made.guard_blocks) == ({"pii": 1}, {"secrets": 1}, {})
    assert listener.found == {"pii", "secrets"}


HOSTILE = {
    "one word": "a" * 100_000,
    "digits": "1 " * 50_000,
    "brackets": "[" * 100_000,
    "images": "![" * 50_000,
    "tags": "<a " * 30_000,
    "quotes": '<a b="' * 20_000,
    "ticks": "` `` " * 20_000,
    "fences": "```\n" * 20_000,
    "keys": "-----BEGIN RSA PRIVATE KEY-----" * 3_000,
    "passwords": "password is " * 10_000,
    "labels": "**password:** " * 10_000,
    "labels and lines": "password:\n\n```\n" * 10_000,
    "mails": "a@b." * 25_000,
    "links": "https://" * 12_000,
    "numbers": "1. " * 30_000,
    "the prompt's words": (PROMPT[:30] + "x ") * 3_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_take_time_in_proportion(name: str) -> None:
    def heard(part: str) -> None:
        through(guards(*EVERY).listener(), cut(part, [7]))

    assert growth(heard, HOSTILE[name][:32_000]) < IN_PROPORTION
