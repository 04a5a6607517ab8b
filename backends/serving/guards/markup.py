"""Makes answers safe to show: no tag that runs or loads, no picture or link that carries data to a foreign host.

A scanner that reads left to right and decides each construct once it is whole, as a Markdown page with HTML would read it. Code
(fences and spans) is left as it is, unless raw HTML before it would make the page read it as HTML.
"""

import re

from backends.serving.guards.links import carries_data, ours, runs_code

NO_IMAGE, NO_LINK = "[IMAGE REMOVED]", "[LINK REMOVED]"
LONGEST_TAG, LONGEST_LINK, LONGEST_SPAN = 600, 800, 300
"""Characters that are waited for; a construct that is longer is not taken for one, and made harmless."""

_NEXT = re.compile(
    r"<(?=[A-Za-z/!?])|!\[|\]\(|(?:^|(?<=\n))[ \t>*+\-0-9.)]{0,12}\[|`+|(?:^|(?<=\n))[^\S\n]{0,12}(?:`+|~{3,}|~+\Z)|https?://|www\.|\n[^\S\n]*\n",
    re.IGNORECASE,
)
_PARTIAL = re.compile(r"(?:<|!|\]|[hH][tTpPsS:/]{0,7}|[wW]{1,3}\.?|\n[^\S\n]*[`~]*|`+)\Z|^[^\S\n]{1,12}[`~]*\Z|^~{1,2}\Z")
"""What may become one of them with the next characters."""
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:\-]*)(?=[\s/>]|\Z)")
_TAG = re.compile(r"<(?:[^<>\"']|\"[^\"<>]*\"|'[^'<>]*')*>")
_FORBIDDEN = re.compile(
    r"script|style|iframe|frame|frameset|object|embed|applet|form|input|button|textarea|select|option|isindex|meta|"
    r"base|link|svg|math|template|slot|portal|img|image|video|audio|source|track|picture|noscript|noembed|noframes|"
    r"plaintext|xmp|title|head|html|body|marquee|bgsound|layer|ilayer|dialog|area|map|param|keygen|command|"
    r"fencedframe|animate|set|foreignobject|use|listing"
)
_HANDLER = re.compile(
    r"(?:[\s/\"'])(?:on[a-z]{3,30}|style|srcdoc|formaction|action|xlink:href|srcset|background|poster|ping|dynsrc|lowsrc|http-equiv)\s*=",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:[\s/\"'])(?:href|src|data|cite)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>]+)", re.IGNORECASE)
_BLANK = re.compile(r"\n[^\S\n]*\n")
_BARE = re.compile(r"[^\s<>\"'`|\\^{}\[\]]*(?:\{[^\s{}]*\}[^\s<>\"'`]*)*")
_FENCE = re.compile(r"(?P<indent>[^\S\n]*)(?P<mark>`{3,}|~{3,})(?P<info>[^\n]*)(?:\n|\Z)")


class Markup:
    """One answer, made safe while it streams."""

    def __init__(self, hosts: frozenset[str], stop: bool = False):
        self._hosts, self._stop = hosts, stop
        self._held, self._before = "", "\n"
        """What is not decided yet, and the character said before it."""
        self._at_start = True
        """Nothing but space and the marks of quotations and lists since the line began."""
        self._fence: tuple[str, int, int] | None = None
        """The open fence's sign, length and indent."""
        self._raw = self._distrust = False
        """Raw HTML has begun in this block; code can no longer be told from HTML at all."""
        self._pictures: set[str] = set()
        self._defined: set[str] = set()
        """Names of pictures, and names that were given a foreign address."""
        self.hits = 0
        """What was made harmless; with `stop`, nothing is said from the first on."""

    def push(self, text: str) -> str:
        self._held += text
        return self._said(final=False)

    def finish(self) -> str:
        return self._said(final=True)

    def _said(self, final: bool) -> str:
        said: list[str] = []
        while self._held and (step := self._step(final)) is not None:
            out, used = step
            if used:
                used_text, self._held = self._held[:used], self._held[used:]
                self._before, line = used_text[-1], used_text.rpartition("\n")
                self._at_start = (bool(line[1]) or self._at_start) and not line[2].strip(" \t>*+-.)0123456789")
                said.append("" if self._stop and self.hits else out)
        return "".join(said)

    def _step(self, final: bool) -> tuple[str, int] | None:
        """What to say, and for how many characters; None when more must come first."""
        if self._fence:
            return self._in_fence(final)
        held = self._held
        found = _NEXT.search(held)
        if found is None or found.start() > 0:
            end = found.start() if found else len(held)
            if found is None and not final:
                partial = _PARTIAL.search(held)
                end = partial.start() if partial else end
            return (held[:end], end) if end else self._first(held, final)
        return self._first(held, final)

    def _first(self, held: str, final: bool) -> tuple[str, int] | None:
        """Something stands at the very beginning."""
        if self._before == "\n" and re.match(r"[^\S\n]{0,12}(?:`{3}|~{3})", held):
            return self._open_fence(final)
        if not final and self._before == "\n" and re.fullmatch(r"[^\S\n]{0,12}(?:`{0,2}|~{0,2})", held):
            return None
        if held[0] in " \t\r\f\v~>*+-.)0123456789":
            return held[0], 1  # the scanner comes back to what stands behind it
        match held[0].lower():
            case "\n":
                blank = re.match(r"\n[^\S\n]*(?=\n)", held)
                if blank:
                    self._raw = False
                    return held[: blank.end()], blank.end()
                return None if not final and re.fullmatch(r"\n[^\S\n]*", held) else ("\n", 1)
            case "`":
                return ("`", 1) if self._before == "\\" else self._span(final)
            case "<":
                return self._tag(final)
            case "!":
                return self._picture(final)
            case "]":
                return self._link(final)
            case "[":
                return self._definition(final) if self._at_start else ("[", 1)
            case _:
                return self._bare(final)

    # code

    def _open_fence(self, final: bool) -> tuple[str, int] | None:
        found = _FENCE.match(self._held)
        assert found
        if "\n" not in found[0] and not final:
            return None if len(self._held) < 200 else (self._held[:1], 1)
        if found["mark"][0] == "`" and "`" in found["info"]:  # a span of code, not a fence
            return self._span(final) if self._held[0] == "`" else (found["indent"], len(found["indent"]))
        if not (self._raw or self._distrust):
            self._fence = (found["mark"][0], len(found["mark"]), len(found["indent"].expandtabs(4)))
        return found[0], found.end()

    def _in_fence(self, final: bool) -> tuple[str, int] | None:
        """A line of code; one that is less indented than its fence may be outside, and nobody can tell from here on."""
        assert self._fence
        sign, length, indent = self._fence
        line, newline, _ = self._held.partition("\n")
        if self._before != "\n":
            return (line + newline, len(line + newline))
        stripped = line.strip()
        if not newline and not final and (len(line) <= indent or set(stripped) <= {sign} or not stripped):
            return None
        if set(stripped) == {sign} and len(stripped) >= length:
            self._fence = None
        elif stripped and len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip()) < indent:
            self._fence, self._distrust = None, True
            return "", 0
        return line + newline, len(line + newline)

    def _span(self, final: bool) -> tuple[str, int] | None:
        """`code`, when it closes soon; signs otherwise."""
        held = self._held
        ticks = len(held) - len(held.lstrip("`"))
        if ticks == len(held) and not final:
            return None
        if self._raw or self._distrust:
            return held[:ticks], ticks
        close = re.compile(rf"(?<!`)`{{{ticks}}}(?!`)").search(held, ticks, LONGEST_SPAN)
        blank = re.compile(r"\n[^\S\n]*\n").search(held, ticks, LONGEST_SPAN)
        if close and not (blank and blank.start() < close.start()):
            if close.end() == len(held) and not final:
                return None
            return held[: close.end()], close.end()
        if final or blank or len(held) >= LONGEST_SPAN:
            return held[:ticks], ticks
        return None

    # HTML

    def _tag(self, final: bool) -> tuple[str, int] | None:
        held = self._held
        if held[1:2] in ("!", "?"):
            return self._hit("&lt;", 1)
        if len(held) == 1:
            return None if not final else ("<", 1)
        name = _TAG_NAME.match(held)
        if name and name.end() == len(held) and not final:
            return None if len(held) < LONGEST_TAG else self._hit("&lt;", 1)
        if name and _FORBIDDEN.fullmatch(name[1].lower().rpartition(":")[2]):
            return self._hit("&lt;", 1)
        if held.startswith("</") and not name and len(held) > 2:
            return "<", 1
        if not name:
            return self._autolink(final)
        tag = _TAG.match(held, 0, LONGEST_TAG)
        if tag is None:
            broken = held.find("<", 1) >= 0 or len(held) >= LONGEST_TAG or final
            return None if not broken else self._hit("&lt;", 1) if self._dangerous(held[:LONGEST_TAG]) else ("<", 1)
        if self._dangerous(tag[0]):
            return self._hit("&lt;", 1)
        self._raw = True
        self._distrust |= name[1].lower() in ("pre",)
        return tag[0], tag.end()

    def _autolink(self, final: bool) -> tuple[str, int] | None:
        """<https://…>, <ann@shop.example>, or a placeholder such as <your name>."""
        held = self._held
        whole = re.compile(r"<[^<>\s]*[<>\s]").match(held)
        if whole is None and not final and len(held) < LONGEST_LINK:
            return None
        url = re.match(r"<([^<>\s]*)", held)
        assert url
        if re.match(r"[A-Za-z][A-Za-z0-9+.\-]{1,31}:", url[1]) and self._unsafe(url[1]):
            return self._hit(NO_LINK, url.end() + (held[url.end() : url.end() + 1] == ">"))
        return "<", 1

    def _dangerous(self, tag: str) -> bool:
        if _HANDLER.search(tag):
            return True
        return any(self._unsafe(found[1].strip("\"'")) for found in _ADDRESS.finditer(tag))

    def _unsafe(self, url: str) -> bool:
        return runs_code(url) or (not ours(url, self._hosts) and carries_data(url))

    # Markdown

    def _picture(self, final: bool) -> tuple[str, int] | None:
        """![alt](address), ![alt][name] or ![alt]: fetched without a click, so only from our hosts."""
        held = self._held
        if held == "!":
            return ("!", 1) if final else None
        close = _closing(held)
        if close is None or (close + 1 == len(held) and not final):
            endless = len(held) >= LONGEST_LINK or held.count("[", 0, 80) > 12
            if not (final or endless or _BLANK.search(held)):
                return None
            return self._hit("! ", 1) if close is None and endless else ("![", 2)
        after = held[close + 1 : close + 2]
        if after == "[":
            return self._hit(NO_IMAGE, close + 1)
        if after != "(":
            label = held[2:close].casefold()
            self._pictures.add(label)
            return self._hit("! ", 1) if label in self._defined else ("![", 2)
        start, end = _destination(held, close + 2)
        whole = re.compile(r">?(?:\s{1,5}(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s{0,5}\)").match(held, end)
        if whole is None and not final and len(held) < LONGEST_LINK and not _BLANK.search(held):
            return None
        url = held[start:end]
        if not runs_code(url) and ours(url, self._hosts):
            return held[:end], end
        return self._hit(NO_IMAGE, whole.end() if whole else end)

    def _link(self, final: bool) -> tuple[str, int] | None:
        """The address of [a link](…): what stands before it has been said."""
        held = self._held
        if len(held) == 1:
            return ("]", 1) if final else None
        start, end = _destination(held, 2)
        if end == len(held) and not final and len(held) < LONGEST_LINK:
            return None
        if not self._unsafe(held[start:end]):
            return held[:end], end
        whole = re.compile(r">?\s{0,5}\)").match(held, end)
        return self._hit(f"] {NO_LINK}", whole.end() if whole else end)

    def _hit(self, said: str, used: int) -> tuple[str, int]:
        self.hits += 1
        return said, used

    def _definition(self, final: bool) -> tuple[str, int] | None:
        """[name]: address, at the start of a line."""
        held = self._held
        begun = re.compile(r"\[([^\[\]\n]{1,200})\]:[^\S\n]*\n?[^\S\n]*<?").match(held)
        if begun is None:
            growing = re.compile(r"\[[^\[\]\n]{0,200}(?:\]?|\]:[^\S\n]*\n?[^\S\n]*)\Z").match(held)
            return None if growing and not final else ("[", 1)
        url = re.compile(r"[^\s<>]*").match(held, begun.end())
        assert url
        if url.end() == len(held) and not final and len(held) < LONGEST_LINK:
            return None
        label = begun[1].casefold()
        foreign = not ours(url[0], self._hosts)
        if self._unsafe(url[0]) or (foreign and label in self._pictures):
            return self._hit(f"[{begun[1]}]: {NO_LINK}", url.end())
        if foreign:
            self._defined.add(label)
        return held[: url.end()], url.end()

    def _bare(self, final: bool) -> tuple[str, int] | None:
        """An address in running text, which pages turn into a link."""
        held = self._held
        url = _BARE.match(held, 0, LONGEST_LINK)
        assert url
        if not url[0]:
            return held[0], 1
        if url.end() == len(held) and not final and len(held) < LONGEST_LINK:
            return None
        address = url[0].rstrip(".,;:!?)")
        if self._unsafe(address if address[:4].lower() == "http" else f"https://{address}"):
            return self._hit(NO_LINK, len(address))
        return url[0], url.end()


def _closing(held: str) -> int | None:
    """Where the bracket of `![` closes."""
    depth = 0
    for found in re.compile(r"\\.|[\[\]]", re.DOTALL).finditer(held, 1, LONGEST_LINK):
        depth += {"[": 1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    return None


def _destination(held: str, start: int) -> tuple[int, int]:
    """Where an address stands that begins about here: to the next space, or to the bracket that closes before it."""
    found = re.compile(r"\s{0,5}<?").match(held, start)
    assert found
    depth, end = 0, min(len(held), LONGEST_LINK)
    for sign in re.compile(r"\\.|[()\s<>]", re.DOTALL).finditer(held, found.end(), end):
        depth += {"(": 1, ")": -1}.get(sign[0], 0)
        if depth < 0 or sign[0] in "<>" or sign[0].isspace():
            return found.end(), sign.start()
    return found.end(), end
