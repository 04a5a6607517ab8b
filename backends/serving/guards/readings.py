"""The ways in which a text can be read: as it stands, and behind the disguises people put on what a filter looks for.

Every reading is plain words: small letters, one space between. A disguise is undone only where there are signs of it.
"""

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from urllib.parse import unquote

from backends.serving.guards.phrases import LISTS, forms

_LOOK_ALIKES = str.maketrans(
    "абвгдеёзиіїјкмнорстуүхцчшѕԁԛԝһӏαβγδεζηικμνοπρστυχωɑɡɩℓıƒ",
    "abbgdeeziiijkmhopctyyxцчшsdqwhlabydezhikmvoпpotuxwagilif",
)
_LEET = str.maketrans("013457@$!|+89", "oieastasiltbg")
_WORD = re.compile(r"\w+")
_PIECE = re.compile(r"\w+|[.!?\n:]")
_ITEM = re.compile(r"\n(?=[^\S\n]*[-*•–][^\S\n])")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][ .\-_*·|,/\\]{1,8}){5,}[^\W_](?![^\W_])")
_NAMES = re.compile(r"(?<![^\W\d_])[^\W\d_]++(?:[._]++[^\W\d_]++)++")
_GAPS = re.compile(r"(?<=[^\W\d_])[._]+(?=[^\W\d_])")
_LONG = re.compile(r"[^\W\d_]{15,}+")
_BROKEN = re.compile(r"(?<=[^\W\d_])[.\-_*·|~^](?=[^\W\d_])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}+")
_WRAPPED = re.compile(r"(?<=[A-Za-z0-9+/]{40})\r?\n(?=[A-Za-z0-9+/])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s,:]?){10,}+")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|&#?\w{2,8};")
_BINARY = re.compile(r"(?<![0-9])(?:[01]{8}\s?){8,}+")
_LEETED = re.compile(r"[a-z013457@$!|+89]{3,}+")

_LISTED = [word for name in ("DROP", "MINE", "RULES", "SHOW", "TEXT", "GLUE") for word in LISTS[name]]
_VOCABULARY = sorted({form for word in _LISTED for form in forms(word)}, key=len, reverse=True)
_KNOWN = re.compile("|".join(_VOCABULARY))
_GLUED = re.compile(f"(?:{'|'.join(_VOCABULARY)})++")


def visible(text: str) -> str:
    """One spelling per character: compatibility forms folded, invisible and combining characters gone, look-alikes Latin."""
    if text.isascii():
        return text.lower()
    text = _TAGS.sub(lambda found: chr(ord(found[0]) - 0xE0000), text)
    text = unicodedata.normalize("NFKD", _INVISIBLE.sub("", text))
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    return _latin(text)


def _latin(text: str) -> str:
    """Look-alikes only in words that mix alphabets: Russian stays Russian."""
    if not re.search("[\u0370-\u03ff\u0400-\u052f\u0250-\u02af\u2100-\u214f]", text):
        return text.translate({0x131: "i", 0x192: "f"})

    def one(found: "re.Match[str]") -> str:
        word = found[0]
        other = word.translate(_LOOK_ALIKES)
        return other if other.isascii() else word

    return _WORD.sub(one, text)


def words(text: str) -> list[str]:
    """'ignore, all: of it.' -> ignore all : of it . ; what ends a phrase stays as a word of its own."""
    text = text.replace("'", "").replace("’", "")
    return _PIECE.findall(_ITEM.sub("\n\n", text) if "\n" in text else text)


def readings(text: str) -> Iterator[tuple[list[str], int]]:
    """Every way to read it, and what more a find is worth in it: one point where that took undoing a disguise."""
    plain = visible(text)
    yield words(plain), 0
    if _ESCAPED.search(plain):
        plain = visible(_unescaped(text))
        yield words(plain), 1
    undone = _LEETED.sub(_unleeted, plain)
    undone = _BROKEN.sub("", undone) if len(_BROKEN.findall(undone)) >= 4 else undone
    if undone != plain:
        yield words(undone), 1
    if runs := _SPACED.findall(undone):
        yield [word for run in runs for word in (*_spelled(run), ".")], 1
    yield from _unjoined(undone)
    for blob in decoded(text):
        yield words(visible(blob)), 1
    yield words(codecs.encode(plain, "rot13")), 1
    yield words(plain[::-1]), 1


def _spelled(run: str) -> list[str]:
    """i g n o r e   a l l: a gap that is wider than others is one between words."""
    narrow = min(map(len, re.findall(r"[\W_]+", run)))
    pieces = re.split(rf"[\W_]{{{narrow + 1},}}", run)
    return [word for piece in pieces for word in apart(re.sub(r"[\W_]", "", piece))]


def _unjoined(text: str) -> Iterator[tuple[list[str], int]]:
    """ignore_all.previous_rules and ignoreallpreviousrules. Code is full of such names: unless they are most of the text, one
    phrase is not enough."""
    names = _NAMES.findall(text) + [word for word in _LONG.findall(text) if len(apart(word)) > 1]
    if names:
        spread = _LONG.sub(lambda found: " ".join(apart(found[0])), _GAPS.sub(" ", text))
        yield words(spread), 0 if 2 * sum(map(len, names)) > len(text) else -2


def apart(word: str) -> list[str]:
    """ignoreallpreviousrules -> ignore all previous rules, when it is made of nothing but words of attacks."""
    return _KNOWN.findall(word) if len(word) >= 15 and _GLUED.fullmatch(word) else [word]


def _unleeted(found: "re.Match[str]") -> str:
    """Only where letters and other signs stand in one word: 1gn0re, but not 2024."""
    said = found[0]
    return said if said.isalpha() or not re.search("[a-z]", said) else said.translate(_LEET)


def _unescaped(text: str) -> str:
    text = re.sub(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})", lambda found: chr(int(found[1] or found[2], 16)), text)
    return html.unescape(unquote(text)).encode("utf-8", "ignore").decode()


def decoded(text: str) -> Iterator[str]:
    """What base64, hexadecimal and binary pieces say, where that can be read. All of them: what is decoded is shorter."""
    text = _WRAPPED.sub("", text)
    for blob in chain(_BASE64.finditer(text), _HEX.finditer(text), _BINARY.finditer(text)):
        for raw in _bytes_of(re.sub(r"[\s,:]|0x|\\x", "", blob[0])):
            said = raw.decode("utf-8", "ignore")
            if len(said) >= 8 and sum(c.isalnum() or c.isspace() for c in said) > 0.8 * len(said):
                yield said


def _bytes_of(blob: str) -> Iterator[bytes]:
    if re.fullmatch("[01]{64,}", blob):
        yield bytes(int(blob[at : at + 8], 2) for at in range(0, len(blob) - 7, 8))
    elif re.fullmatch("(?:[0-9A-Fa-f]{2})+", blob):
        yield bytes.fromhex(blob)
    else:
        body = blob.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            yield base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "==", validate=False)
        except binascii.Error:
            return
