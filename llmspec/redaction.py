"""What must not be written down: e-mail addresses, telephone numbers, payment cards. Small, quick, no dependency."""

import re
from collections.abc import Callable

EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]?\d)")
PHONE = re.compile(r"(?<![\w.+-])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./-]?\(?\d{1,4}\)?){1,6}(?![\w-]|\.\d)")

NO_PHONE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}|\d+\.\d+")
"""Dates and decimal fractions."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others, as on every payment card."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def _card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    return "[CARD]" if luhn(digits) else match[0]


def _phone(match: re.Match[str]) -> str:
    """7 to 15 digits, and written like a number to call: with a + or 00, or in groups. An order number is not."""
    digits = re.sub(r"\D", "", match[0])
    called = match[0].startswith(("+", "00")) or re.search(r"\d[ ./-]\(?\d", match[0])
    return "[PHONE]" if 7 <= len(digits) <= 15 and called and not NO_PHONE.fullmatch(match[0]) else match[0]


KINDS: dict[str, tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = {
    "email": (EMAIL, "[EMAIL]"),
    "credit_card": (CARD, _card),
    "phone": (PHONE, _phone),
}
"""In this order: a card is looked for before its digits can be taken for a telephone number."""


def redact(text: str) -> str:
    """The text with each of them replaced by what it was."""
    for pattern, replacement in KINDS.values():
        text = pattern.sub(replacement, text)
    return text
