"""Finds personal data in text: e-mail addresses, phone numbers, card numbers."""

import re
from collections.abc import Callable

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%'-]+@(?:[\w-]+\.)+[^\W\d_]{2,}")

_DIGITS = re.compile(r"(?<![0-9])[0-9](?:[\s.\-]?[0-9]){12,}(?![0-9])")
"""Where a card number may hide: an order number or an expiry date may stand beside it."""

# A bare run of digits is an order number more often than a phone, so one of: a country code, brackets or gaps, a leading 0.
_PHONE = re.compile(
    r"""(?<![\w+])(?<![0-9][.,\-])(?:
        (?:\+|00)[1-9](?:[\s().\-/]{0,3}[0-9]){6,14}                    # +49 (0)30 1234567
      | \(?[2-9][0-9]{2}\)?[\s.\-]{1,2}[0-9]{3}[\s.\-][0-9]{4}          # (555) 123-4567
      | \(?0[0-9]{2,4}\)?[\s./\-]{1,2}[0-9](?:[\s\-]?[0-9]){4,8}        # 030 1234567
      | 0[1-9]([\s.\-])[0-9]{2}(?:\1[0-9]{2}){3}                        # 01 23 45 67 89
      | 0[1-9][0-9]{8,9}                                                # 0301234567
    )(?!\w|[.,\-][0-9])""",
    re.VERBOSE,
)

HINTS = {"email": "@", "phone": "(?:[0-9][^0-9]{0,3}){7}", "credit_card": "(?:[0-9][^0-9]{0,1}){13}"}
"""What a text must hold (in RE2, quick) before it is searched."""
KINDS = ("email", "credit_card", "phone")
"""In this order: a phone number must not bite into a card number."""


def luhn(digits: str) -> bool:
    """The check digit of card numbers."""
    doubled = (int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits)))
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def _cards(mark: str) -> Callable[[re.Match[str]], str]:
    """In a run of digits, the longest stretch of whole groups that is a card number."""

    def replace(run: re.Match[str]) -> str:
        groups = [(m.start(), m.end()) for m in re.finditer("[0-9]+", run[0])]
        spans = sorted(((a, b) for a, _ in groups for _, b in groups if b > a), key=lambda span: (span[0] - span[1], span))
        for start, end in spans:
            digits = re.sub("[^0-9]", "", run[0][start:end])
            if 13 <= len(digits) <= 19 and digits[0] != "0" and luhn(digits):
                return run[0][:start] + mark + run[0][end:]
        return run[0]

    return replace


def mask(text: str, kind: str, mark: str) -> str:
    """The text with the mark in the place of everything of this kind."""
    match kind:
        case "email":
            return _EMAIL.sub(mark, text)
        case "credit_card":
            return _DIGITS.sub(_cards(mark), text)
        case _:
            return _PHONE.sub(mark, text)


def hidden(text: str) -> str:
    """The text as a report may show it."""
    for kind in KINDS:
        text = mask(text, kind, "•••")
    return text
