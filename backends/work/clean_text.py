"""Rewrites of text, a column at a time over Arrow: one regex dialect and one Unicode, whatever the engine."""

import html
import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from llmspec.redaction import HINTS, KINDS, mask

Rewrite = Callable[[pa.Array], pa.Array]


def where(text: pa.Array, pattern: str, function: Callable[[str], str]) -> pa.Array:
    """The function, called only for texts that RE2 finds the pattern in: most rows never enter Python."""
    hits = pc.fill_null(pc.match_substring_regex(text, pattern), False)
    if not pc.any(hits).as_py():
        return text
    return pc.replace_with_mask(text, hits, pa.array([function(v) for v in text.filter(hits).to_pylist()], pa.string()))


_GONE = "\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_PLAIN = {
    **dict.fromkeys("‘’‚‛", "'"),
    **dict.fromkeys("“”„‟", '"'),
    **dict.fromkeys("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\x85\u2028\u2029", "\n"),
}
_FANCY = re.compile(f"[{_GONE}{''.join(_PLAIN)}]")
_LOOSE_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _FANCY.sub(lambda found: _PLAIN.get(found[0], ""), text)
    return _LOOSE_JOINERS.sub("", text)  # between letters of Persian or Hindi, and in emoji, a joiner is spelling


_UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(
    r"""<(?:/?([a-z][a-z0-9:-]*)(?:[\s/](?:"[^"<]*"|'[^'<]*'|[^<>"'])*|[\s/][^<>]*)?|![a-z\[][^<>]*|\?[^<>]*)>""", re.IGNORECASE
)
_BLOCKS = re.compile(
    "address|article|aside|blockquote|br|dd|div|dl|dt|figure|footer|form|h[1-6r]|header|li|main|nav|ol|p|pre|section|t[dhr]|table|ul"
)


def _untagged(text: str) -> str:
    """Tags go before entities are decoded: `&lt;b&gt;` is a text about a tag."""
    bare = _TAG.sub(lambda tag: "\n" if _BLOCKS.fullmatch((tag[1] or "").lower()) else "", _UNSEEN.sub("", text))
    return html.unescape(bare.strip() if bare != text else text)


def strip_html(text: pa.Array) -> pa.Array:
    return where(text, r"[<&]", _untagged)


def normalize_unicode(text: pa.Array) -> pa.Array:
    return where(text, r"[^\x20-\x7e\n\t]", _plain)


def collapse_whitespace(text: pa.Array) -> pa.Array:
    return pc.binary_join(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text)), " ")


_CLASSES = {"w": r"\p{L}\p{M}\p{N}\p{Pc}", "d": r"\p{Nd}", "s": r"\s\x{0b}\x{85}\p{Z}"}
_PIECE = re.compile(r"\\(?P<escaped>.)|(?P<posix>\[:\^?\w+:\])|(?P<open>\[\^?\]?)|(?P<close>\])|(?P<both>&&|--|~~)", re.DOTALL)


def every_alphabet(pattern: str) -> str:
    """RE2's \\w, \\d and \\s know ASCII only, and would take the é out of café: here they know every alphabet."""
    inside = False

    def piece(found: re.Match[str]) -> str:
        nonlocal inside
        letter = found["escaped"] or ""
        if letter == "W" and inside:
            raise ValueError(r"\W stands inside [ ]; write it outside, or [^\w…]")
        if found["both"] and inside:
            raise ValueError(f"{found['both']} stands inside [ ]; put a backslash before it")
        if letter in _CLASSES:
            return _CLASSES[letter] if inside else f"[{_CLASSES[letter]}]"
        if letter.lower() in _CLASSES and not inside:
            return f"[^{_CLASSES[letter.lower()]}]"
        inside = bool(found["open"]) or (inside and not found["close"])
        return found[0]

    return _PIECE.sub(piece, pattern)


def remove(pattern: str) -> Rewrite:
    expression = every_alphabet(pattern)
    return lambda text: pc.replace_substring_regex(text, expression, "")


def redact(kinds: list[str]) -> Rewrite:
    def rewrite(text: pa.Array) -> pa.Array:
        for kind in (kind for kind in KINDS if kind in kinds):
            text = where(text, HINTS[kind], lambda value, kind=kind: mask(value, kind, f"[{kind.upper()}]"))  # type: ignore[misc]
        return text

    return rewrite


def length(text: pa.Array) -> pa.Array:
    """Characters, without blanks at the ends; nothing has none."""
    return pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0)


REWRITES: dict[str, Rewrite] = {
    "normalize_unicode": normalize_unicode,
    "strip_html": strip_html,
    "collapse_whitespace": collapse_whitespace,
    "lowercase": pc.utf8_lower,
}


def norm_question(question: str | None) -> str:
    """What makes two questions the same one: case, spacing and the spelling of characters do not count."""
    return " ".join(unicodedata.normalize("NFKC", question or "").casefold().split())
