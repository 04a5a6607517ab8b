"""Is an address in an answer safe to show as a link, and safe to be fetched as a picture?"""

import html
import re
from urllib.parse import unquote, urlsplit

_SAFE_SCHEMES = {"http", "https", "mailto", "tel", ""}
_BLOB = re.compile(r"[A-Za-z0-9+/_\-]{24,}={0,2}|(?:%[0-9A-Fa-f]{2}){6,}")
_CARRIER = re.compile(
    r"(?i)^(?:data|d|exfil|leak|secret|token|key|api_?key|pass(?:word|wd)?|cookies?|session|history|chat|conversation|context|prompt|system"
    r"|instructions|msg|message|payload|dump|info|user|email|e|mail|name|phone|ssn|card|address|content|text|c|x|body|log|loot|stolen|steal)$"
)
_TEMPLATE = re.compile(r"\{\{?|\$\{|%7[Bb]|<[A-Za-z]|\[[A-Z]|%5[Bb]")
_DIGEST = re.compile(r"[0-9a-f]{32,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def cleaned(url: str) -> str:
    """As a browser reads it: entities decoded, white space and control characters gone."""
    return re.sub(r"[\x00-\x20\x7f\u200b-\u200f\u2060\ufeff]", "", html.unescape(html.unescape(url)))


def scheme_of(url: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", unquote(cleaned(url)).replace("\\", ""))
    return found[1].lower() if found else ""


def runs_code(url: str) -> bool:
    """javascript:, data: and the like: the browser would run or render what stands in the address itself."""
    return (
        scheme_of(url) not in _SAFE_SCHEMES
        and re.match(r"(?i)(?:javascript|vbscript|data|livescript|mocha|blob|file|view-source)", scheme_of(url)) is not None
    )


def host_of(url: str) -> str | None:
    """'' for an address on the page's own host, None for one that cannot be read."""
    try:
        parts = urlsplit(cleaned(url).replace("\\", "/"))
        return (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        return None


def ours(url: str, hosts: frozenset[str]) -> bool:
    """Is it on a host that the spec names (or below it), or on the page's own?"""
    host = host_of(url)
    if host is None or (host and "@" in urlsplit(cleaned(url).replace("\\", "/")).netloc):
        return False
    return not host or any(host == known or host.endswith("." + known) for known in hosts)


def carries_data(url: str) -> bool:
    """Does it look as if somebody's text were to be carried off in it?"""
    url = cleaned(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    if _TEMPLATE.search(url) or "@" in parts.netloc or any(_long_label(label) for label in (parts.hostname or "").split(".")):
        return True
    if any(_blob(piece) for piece in parts.path.split("/")):
        return True
    pairs = [pair.partition("=")[::2] for pair in re.split("[&;]", parts.query) if pair]
    return any(_carried(name, value) for name, value in pairs) or len(parts.fragment) > 80 or _blob(parts.fragment)


def _long_label(label: str) -> bool:
    return len(label) > 30 or (len(label) >= 16 and sum(c.isdigit() for c in label) >= 4)


def _blob(piece: str) -> bool:
    """Encoded text: long, mixed, and neither words with dashes nor a digest."""
    found = _BLOB.search(piece)
    if found is None or _DIGEST.fullmatch(piece.split(".")[0]):
        return found is not None and "%" in found[0]
    run = found[0]
    words = re.split(r"[-_+/]", run)
    return (max(map(len, words)) >= 20 and (any(c.isdigit() for c in run) or run != run.lower())) or run.startswith("%")


def _carried(name: str, value: str) -> bool:
    said = unquote(value.replace("+", " ")) if value else unquote(name.replace("+", " "))
    if _blob(value or name) or "@" in said or len(said) > 100:
        return True
    return (bool(_CARRIER.match(name)) and len(said) >= 8 and not said.isdecimal()) or len(said.split()) > 8
