"""Finds credentials in text: keys of known makes, private keys, tokens, and passwords that are set or said."""

import re

MARK = "[SECRET]"

_MAKES = re.compile(
    r"""(?<![A-Za-z0-9_\-])(?:
        sk-(?=[\w\-]*[0-9])(?=[\w\-]*[A-Za-z])[A-Za-z0-9_\-]{20,200}     # OpenAI, Anthropic and their like
      | [sr]k_(?:live|test)_[A-Za-z0-9]{16,200} | whsec_[A-Za-z0-9]{16,200}
      | gh[pousr]_[A-Za-z0-9]{30,255} | github_pat_[A-Za-z0-9_]{22,255} | glpat-[\w\-]{20,100}
      | xox[abeoprs]-[A-Za-z0-9\-]{10,255} | xapp-[A-Za-z0-9\-]{10,255}
      | (?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}
      | AIza[\w\-]{35} | ya29\.[\w\-]{20,500} | GOCSPX-[\w\-]{20,60}
      | hf_[A-Za-z0-9]{30,60} | npm_[A-Za-z0-9]{36} | pypi-[\w\-]{50,255} | dop_v1_[a-f0-9]{64}
      | SG\.[\w\-]{16,40}\.[\w\-]{16,80} | shp(?:at|ss|ca)_[a-fA-F0-9]{32} | key-[a-f0-9]{32} | SK[a-f0-9]{32}
      | AGE-SECRET-KEY-1[A-Z0-9]{58} | [0-9]{8,10}:AA[\w\-]{33}
      | eyJ[\w\-]{10,2000}\.eyJ[\w\-]{10,4000}\.[\w\-]{10,2000}          # a JSON web token
    )(?![A-Za-z0-9])""",
    re.VERBOSE,
)
_HOOK = re.compile(r"https://(?:hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks)/[\w/\-]{20,200}")
_BEGIN = "-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY[A-Z ]{0,10}-----"
_END = "-----END [A-Z0-9 ]{0,40}-----"
_PRIVATE_KEY = re.compile(rf"{_BEGIN}.*?(?:{_END}|\Z)", re.DOTALL)
KEY_IN_STRING = re.compile(rf'{_BEGIN}[^"]*?(?:{_END}|(?=")|\Z)')
"""In JSON it ends with its string at the latest."""
_IN_URL = re.compile(r"(?<=://)([^\s:/@'\"<>]{0,100}):([^\s/@'\"<>]{3,200})@")
_BEARER = re.compile(r"\b((?i:bearer|basic)\s{1,3})(?=[A-Za-z._~+/=\-]{0,300}[0-9])([A-Za-z0-9._~+/=\-]{16,2000})")

_NAME = (
    r"(?:pass(?:word|wd|phrase|wort|code)?|pwd|kennwort|contraseña|mot\ de\ passe|secret(?:[_\- ]?(?:access[_\- ]?)?key)?|"
    r"(?:api|access|auth|private|encryption|signing|master|account)[_\- ]?(?:key|token|secret)|client[_\- ]?secret|token)"
)
_BLANK = r"[ \t\x1d-\x1f]"
"""The last three are what the line breaks and tabs of JSON's strings are read as (`in_json`)."""
_BOLD = r"(?:\*{1,3}|_{1,2})"
"""Markdown's, before or behind the colon of a label."""
_LINE, _FENCE = r"[\n\x1e]", "```[a-z]{0,10}"
_SET = re.compile(
    rf"""(?P<name>(?<![A-Za-z])(?i:[A-Za-z0-9]{{1,40}}[_.\-]){{0,4}}(?i:{_NAME}))
        (?P<sign>["'`]?{_BOLD}?{_BLANK}{{0,3}}(?:=>|:=|==?|:|(?i:(?<={_BLANK})(?:is|ist|lautet|est|es)(?=:|{_BLANK})):?)
            {_BOLD}??{_BLANK}{{0,3}}(?P<below>(?<![=>]){_LINE}{{1,2}}(?:{_FENCE}{_LINE})?)?)
        (?P<value>"[^"\n]{{4,200}}"|'[^'\n]{{4,200}}'|`[^`\n]{{4,200}}`|\*\*[^*\s]{{4,200}}\*\*|[^\s"'`*][^\s"'`]{{3,200}})
        (?(below)(?<!:)(?={_LINE}|"|\Z))            # below its name it stands alone: code and YAML are indented""",
    re.VERBOSE,
)
OPEN = re.compile(
    rf"""(?:(?i:{_NAME})["'`]?{_BOLD}?(?:{_BLANK}{{0,3}}(?:=>|:=|==?|:|(?i:is|ist|lautet|est|es):?)?
            {_BOLD}?{_BLANK}{{0,3}}(?:{_LINE}{{1,2}}(?:{_FENCE})?)?(?:["'`][^"'`\n]{{0,200}})?)?
        |(?i:mot|mot\ de|secret|secret\ access|api|access|auth|private|client|account|encryption|signing|master|bearer|basic)
         \s{{0,3}})\Z""",
    re.VERBOSE,
)
"""What ends like this may go on to name a credential behind the next space."""
HINT = re.compile(
    r"(?i)pass|pwd|kennw|contras|secret|token|key|bearer|basic|://|PRIVATE|eyJ|AKIA|ASIA|AIza|[a-z0-9][a-z]?[_.:\-][A-Za-z0-9]"
)
"""What a text must hold (quick) before it is searched."""

_NAMES = (
    *("pass", "pwd", "kennw", "contras", "mot", "secret", "token", "key", "api", "access", "auth", "private", "client", "account"),
    *("encrypt", "sign", "master", "bearer", "basic"),
)
"""One of them is in whatever is open, and in few other words."""
_PLACEHOLDER = re.compile(
    r"(?i)^[<\[({$%*]|your|example|placeholder|changeme|change[_-]?me|redacted|x{4,}|\*{3,}|\.{3}|…|process\.env|environ|getenv"
    r"|^(?:none|null|true|false|string|required|optional|undefined|text|password|secret|token)\W*$|[a-z_]\(|\$\{|dummy|^os\.|^env\."
)


def _secret(name: str, value: str) -> bool:
    """Is it a value, and not a word about one?"""
    value = value.strip("\"'`*").rstrip(".,;:!?)]}")
    if len(value) < 6 or _PLACEHOLDER.search(value) or value.lower() in name.lower():
        return False
    digits, letters = any(c.isdigit() for c in value), any(c.isalpha() for c in value)
    if re.search("(?i)pass|pwd|kennw|contras", name):
        signs = len(re.findall(r"[^\w\s\-]", value[:-1]))
        return " " not in value and (digits or signs >= 2)
    return (
        digits and letters and " " not in value and len(value) >= 8 and not re.fullmatch(r"[\w.]+\[[^\]]*|[a-z]+[0-9]{1,2}", value)
    )


def _value(found: "re.Match[str]") -> str:
    value = found["value"]
    if not _secret(found["name"], value):
        return found[0]
    quote = value[0] if value[0] in "\"'`" else "**" if value[0] == "*" else ""
    tail = "" if quote else value[len(value.rstrip(".,;:!?)]}")) :]
    return f"{found['name']}{found['sign']}{quote}{MARK}{quote or tail}"


def _login(found: "re.Match[str]") -> str:
    return found[0] if _PLACEHOLDER.search(found[2]) or found[2] == "pass" else f"{found[1]}:{MARK}@"


def mask(text: str, key: "re.Pattern[str]" = _PRIVATE_KEY) -> str:
    """The text with a mark in the place of every credential."""
    if not HINT.search(text):
        return text
    text = key.sub(MARK, text)
    text = _HOOK.sub(MARK, _MAKES.sub(MARK, text))
    text = _BEARER.sub(rf"\1{MARK}", _IN_URL.sub(_login, text))
    return _SET.sub(_value, text)


def unfinished(text: str) -> bool:
    """May what follows the next space belong to a credential that begins here?"""
    begun = text.rfind("-----BEGIN")
    if begun >= 0 and text.find("-----END", begun) < 0:
        return True
    tail = text[-260:]
    small = tail.lower()
    return any(word in small for word in _NAMES) and OPEN.search(tail) is not None


def mask_in_json(text: str) -> str:
    return mask(text, KEY_IN_STRING)
