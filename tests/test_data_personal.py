"""data: what counts as an e-mail address, a phone number, a card number, and what does not."""

import re

import pyarrow as pa
import pytest
from growth import IN_PROPORTION, growth
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.work.clean_text import redact
from llmspec.redaction import hidden, luhn, mask

CARD = "4111 1111 1111 1111"


def redacted(text: str, *kinds: str) -> str:
    found = redact(list(kinds or ("email", "phone", "credit_card")))(pa.array([text]))[0].as_py()
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    "address", ["ann@shop.example", "ann.o'neil+sale@mail.shop.example", "MÜLLER@straße.example", "a_b-c%d@x-y.co.uk"]
)
def test_an_address_is_masked_and_the_text_around_it_stays(address: str) -> None:
    assert redacted(f"Write to <{address}>, or call.") == "Write to <[EMAIL]>, or call."


PARTS = ["a", "1", "-", ".", "'", "@", " ", "b@c.de", "'x@y.zz"]


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
@settings(max_examples=1000)
def test_every_address_is_masked_whatever_quotes_stand_between_them(text: str) -> None:
    address = r"(?<![\w.+%-])[\w.+%'-]+@(?:[\w-]+\.)+[^\W\d_]{2,}"  # what it is, said so that rows of quotes take long
    assert mask(text, "email", "[EMAIL]") == re.sub(address, "[EMAIL]", text)
    assert mask("'ann@x.de''bob@y.de'", "email", "[EMAIL]") == "[EMAIL]'[EMAIL]'"


@pytest.mark.parametrize("text", ["5 @ 3 EUR", "meet me @noon", "user@localhost", "@shop.example", "a@b"])
def test_an_at_sign_alone_is_no_address(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "number",
    [
        "+49 30 1234567",
        "+49 (0)30 / 123 45 67",
        "+1-800-555-0199",
        "+4915112345678",
        "0049 30 1234567",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "030 1234567",
        "0171/1234567",
        "020 7946 0958",
        "01 23 45 67 89",
        "01711234567",
    ],
)
def test_a_phone_number_is_masked(number: str) -> None:
    assert redacted(f"Call {number}, please.") == "Call [PHONE], please."
    assert redacted(number) == "[PHONE]"


@pytest.mark.parametrize(
    "text",
    [
        "Order 1234567890 shipped",
        "on 2024-01-15 10:30:00",
        "am 01.02.2024 10:30",
        "ISBN 978-3-16-148410-0",
        "1,234,567.00 EUR",
        "192.168.100.200",
        "version 10.2.3",
        "from 100 to 200 or 3000",
        "SKU0301234567",
        "12345678",
    ],
)
def test_a_number_that_is_no_phone_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("card", [CARD, "4111-1111-1111-1111", "4111111111111111", "378282246310005", "5555.5555.5555.4444"])
def test_a_card_number_is_masked(card: str) -> None:
    assert redacted(f"Paid with {card}.") == "Paid with [CREDIT_CARD]."


@pytest.mark.parametrize("text", ["4111 1111 1111 1112", "0000 0000 0000 0000", "411111111111", "41111111111111111111111"])
def test_a_number_with_a_wrong_check_digit_or_length_is_no_card(text: str) -> None:
    assert redacted(text, "credit_card") == text


def test_a_card_is_found_between_other_digits() -> None:
    assert redacted(f"Order 12 {CARD} 12 27") == "Order 12 [CREDIT_CARD] 12 27"


def test_only_the_kinds_asked_for_are_masked() -> None:
    text = f"a@shop.example, +49 30 1234567, {CARD}"
    assert redacted(text, "email") == f"[EMAIL], +49 30 1234567, {CARD}"
    assert redacted(text, "phone") == f"a@shop.example, [PHONE], {CARD}"
    assert redacted(text) == "[EMAIL], [PHONE], [CREDIT_CARD]"


@given(st.integers(10**14, 10**15 - 1), st.sampled_from(["", " ", "-"]))
def test_every_number_with_its_check_digit_is_a_card(stem: int, gap: str) -> None:
    digits = next(f"{stem}{check}" for check in range(10) if luhn(f"{stem}{check}"))
    card = gap.join(digits[n : n + 4] for n in range(0, 16, 4))
    assert mask(f"x {card} y", "credit_card", "*") == "x * y"


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


def test_what_a_report_shows_hides_every_kind() -> None:
    assert hidden(f"a@shop.example +49 30 1234567 {CARD}") == "••• ••• •••"


@pytest.mark.parametrize(
    ("part", "times", "end"),
    [("a", 50_000, "@"), ("1 ", 20_000, ""), ("a@", 20_000, ""), ("+4 ", 20_000, ""), ("a.a@a.", 10_000, "")],
)
def test_a_long_hostile_text_takes_time_in_proportion(part: str, times: int, end: str) -> None:
    assert growth(redacted, part * times + end) < IN_PROPORTION
