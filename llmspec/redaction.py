"""Finds personal data in text: e-mail addresses, phone numbers, card numbers, and what else an answer should not say.

One set of patterns for what trains and for what the journal keeps. Plain Python, so that a cluster's workers can be handed it.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%'-]+@(?:[\w-]+\.)+[^\W\d_]{2,}")
_EMAILS = re.compile(rf"(?<!')(?:{_EMAIL.pattern})(?:[\w.+%-]*'[\w.+%'-]+@(?:[\w-]+\.)+[^\W\d_]{{2,}})*")
"""Addresses with nothing but quotes between them. An address may begin behind any quote, and a row of those would be looked through
once from each; these begin only where the row does, and _EMAIL is looked for within them."""

_DIGITS = re.compile(r"(?<![0-9+])[0-9](?:[\s.\-]?[0-9]){12,}(?![0-9])")
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
_DIGIT = re.compile("[0-9]")
KINDS = ("email", "credit_card", "phone")
"""In this order: a phone number must not bite into a card number."""
ANSWER_KINDS = ("email", "iban", "credit_card", "ssn", "ip", "phone")
"""What an answer may be searched for, in this order. Rows and the journal know KINDS only."""

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ \-]?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9[0-9]{2})[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w]|-[0-9])")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")


def luhn(digits: str) -> bool:
    """The check digit of card numbers."""
    doubled = (int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits)))
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def _card_at(run: str, groups: list[tuple[int, int]], first: int) -> int:
    """How many whole groups, from this one on, are a card number; the most that are, 0 when none."""
    digits, best = "", 0
    for number, (start, end) in enumerate(groups[first : first + 19], 1):
        digits += run[start:end]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and digits[0] != "0" and luhn(digits):
            best = number
    return best


def _cards(mark: str) -> Callable[[re.Match[str]], str]:
    """In a run of digits, every card number; what stands between them stays."""

    def replace(found: re.Match[str]) -> str:
        run = found[0]
        groups = [match.span() for match in re.finditer("[0-9]+", run)]
        out, done, number = "", 0, 0
        while number < len(groups):
            length = _card_at(run, groups, number)
            if length:
                out += run[done : groups[number][0]] + mark
                done = groups[number + length - 1][1]
            number += length or 1
        return out + run[done:]

    return replace


def _iban(mark: str) -> Callable[[re.Match[str]], str]:
    """What the check digits confirm, its shortest reading first: words in capitals may follow."""

    def replace(found: re.Match[str]) -> str:
        ends = [match.end() for match in re.finditer(r"[A-Z0-9](?=[ \-]|$)", found[0])]
        for end in ends:
            plain = re.sub(r"[ \-]", "", found[0][:end])
            if 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1:
                return mark + found[0][end:]
        return found[0]

    return replace


def _address(mark: str) -> Callable[[re.Match[str]], str]:
    """Only what is somebody's: no loopback, no private network, no example."""

    def replace(found: re.Match[str]) -> str:
        try:
            return mark if ip_address(found[0]).is_global else found[0]
        except ValueError:
            return found[0]

    return replace


def mask(text: str, kind: str, mark: str) -> str:
    """The text with the mark in the place of everything of this kind."""
    match kind:
        case "email":
            return _EMAILS.sub(lambda found: _EMAIL.sub(mark, found[0]), text)
        case "credit_card":
            return _DIGITS.sub(_cards(mark), text)
        case "iban":
            return _IBAN.sub(_iban(mark), text)
        case "ssn":
            return _SSN.sub(mark, text)
        case "ip":
            return _IPV6.sub(_address(mark), _IPV4.sub(_address(mark), text))
        case _:
            return _PHONE.sub(mark, text)


def hidden(text: str) -> str:
    """The text as a report may show it."""
    for kind in KINDS:
        text = mask(text, kind, "•••")
    return text


def redact(text: str) -> str:
    """The text with a mark in the place of everything that must not be written down."""
    for kind in KINDS:
        if "@" in text if kind == "email" else _DIGIT.search(text):  # most texts hold neither, and cost no more than this
            text = mask(text, kind, f"[{kind.upper()}]")
    return text
