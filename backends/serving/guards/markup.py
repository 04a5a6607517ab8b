"""Makes answers safe to show: no tag that runs or loads, no picture or link that carries data to a foreign host.

A scanner that reads left to right and decides each construct once it is whole, as a Markdown page with HTML would read it. Code
is left as it is where every page takes it for code: a span within its line, and a fence outside of quotations. What only may be
code is read as text.
"""

import re
from collections.abc import Iterator

from backends.serving.guards.links import carries_data, ours, runs_code

NO_IMAGE, NO_LINK = "[IMAGE REMOVED]", "[LINK REMOVED]"
LONGEST_TAG, LONGEST_LINK, LONGEST_SPAN, LONGEST_INFO = 600, 800, 300, 200
"""Characters that are waited for; a construct that is longer is not taken for one, and made harmless."""

_NEXT = re.compile(
    r"<(?=[A-Za-z/!?])|!\[|\]\(|(?:^|(?<=[\r\n]))(?:[ \t>*+\-0-9.)]{0,12}\[| {0,3}(?:`+|~+))|`+|~{3,}|https?://|www\.|\n[ \t\r]*\n",
    re.IGNORECASE,
)
_PARTIAL = re.compile(r"(?:<|!|\]|[hH][tTpPsS:/]{0,7}|[wW]{1,3}\.?|\n[ \t\r]*[`~]*|\r {0,3}[`~]*|`+|~{1,2})\Z|^ {1,3}[`~]*\Z")
"""What may become one of them with the next characters."""
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:\-]*)(?=[\s/>]|\Z)")
_TAG = re.compile(r"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+(?:(?P<quote>[\"'])|(?P<end>>))?")
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
_BLANK = re.compile(r"\n[ \t\r]*\n")
_BARE = re.compile(r"(?:[^\s<>\"'`|\\^{}\[\]!]|!(?!\[))*(?:\{[^\s{}]*\}[^\s<>\"'`]*)*")
_BRACE = re.compile(r"\{[^\s{}]*")
_AT_FENCE = re.compile(r" {0,3}(?:`{3}|~{3})")
_FENCE = re.compile(rf"(?P<indent> {{0,3}})(?P<mark>`{{3,}}|~{{3,}})(?P<info>[^\r\n]{{0,{LONGEST_INFO}}})(?P<end>[\r\n]?)")
_FENCE_WITHIN = re.compile(r"[\r\n][ \t>*+\-.)0-9]*(?:`{3}|~{3})")
_LINE = re.compile(r"([^\r\n]*)([\r\n]?)")


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
        self._raw = self._loose = False
        """Raw HTML, or a tick that may open a span, stands in this block: what follows in it is no code for certain."""
        self._nested = self._distrust = False
        """A fence may be open in a list or a quotation; code can no longer be told from HTML at all."""
        self._pictures: set[str] = set()
        self._defined: set[str] = set()
        """Names of pictures, and names that were given a foreign address."""
        self.hits = 0
        """What was made harmless; with `stop`, nothing is said from the first on."""

    def push(self, text: str) -> str:
        return self._said(text, final=False)

    def finish(self) -> str:
        return self._said("", final=True)

    def _said(self, text: str, final: bool) -> str:
        return "".join("" if self._stop and self.hits else out for _, out in self.steps(text, final))

    def steps(self, text: str, final: bool) -> Iterator[tuple[str, str]]:
        """What came, and what is said for it, one piece after the other."""
        self._held += text
        while self._held:
            code, step = self._fence is not None, self._step(final)
            if step is None:
                break
            out, used = step
            if used:
                used_text, self._held = self._held[:used], self._held[used:]
                if not code and not self._fence:
                    self._passed(used_text)
                self._before, line = used_text[-1], re.split("[\r\n]", used_text)
                self._at_start = (len(line) > 1 or self._at_start) and not line[-1].strip(" \t>*+-.)0123456789")
                yield used_text, out

    def _passed(self, text: str) -> None:
        """What was no code may hold the signs of it, in an address or a title, where no page would look for code."""
        span = text[0] == "`" and text.strip("`")
        self._loose |= "`" in text and not span
        self._distrust |= _FENCE_WITHIN.search(text) is not None

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
        if self._before in "\r\n" and _AT_FENCE.match(held):
            return self._open_fence(final)
        if not final and (held in ("~", "~~") or (self._before in "\r\n" and re.fullmatch(" {0,3}(?:`{0,2}|~{0,2})", held))):
            return None
        if held.startswith("~~~"):
            self._nested |= self._at_start
        if held[0] in " \t\r\f\v~>*+-.)0123456789":
            return held[0], 1  # the scanner comes back to what stands behind it
        match held[0].lower():
            case "\n":
                blank = re.match(r"\n[ \t\r]*(?=\n)", held)
                if blank:
                    self._raw = self._loose = False
                    return held[: blank.end()], blank.end()
                return None if not final and re.fullmatch(r"\n[ \t\r]*", held) else ("\n", 1)
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
        whole = found["end"] or (final and found.end() == len(self._held))
        if not whole and found.end() == len(self._held) and len(found["info"]) < LONGEST_INFO:
            return None
        if found["mark"][0] == "`" and "`" in found["info"]:  # a span of code, not a fence
            return self._span(final) if self._held[0] == "`" else (found["indent"], len(found["indent"]))
        indent = len(found["indent"]) if len(found["indent"]) > 1 else 0  # no list's text begins behind a single space
        self._distrust |= self._raw or not whole or "|" in found["info"]  # a | may make a table of it
        if self._distrust or (self._nested and indent):
            return self._held[:1], 1
        self._fence = (found["mark"][0], len(found["mark"]), indent)
        return found[0], found.end()

    def _in_fence(self, final: bool) -> tuple[str, int] | None:
        """A line of code. An indented fence may be a list's: a line that ends it either there or elsewhere ends all trust."""
        assert self._fence
        sign, length, indent = self._fence
        found = _LINE.match(self._held)
        assert found
        line, newline = found.groups()
        if self._before not in "\r\n":
            return found[0], found.end()
        stripped = line.strip(" \t")
        if not newline and not final and (len(line) <= indent or set(stripped) <= {sign} or not stripped):
            return None
        spread = line.expandtabs(4)
        depth = len(spread) - len(spread.lstrip(" "))
        closes = set(stripped) == {sign} and len(stripped) >= length
        if stripped and (depth < indent or (closes and depth > 3 and indent)):
            self._fence, self._distrust = None, True
            return "", 0
        if closes and depth <= 3:
            self._fence = None
        return found[0], found.end()

    def _span(self, final: bool) -> tuple[str, int] | None:
        """`code`, when it closes in its line; signs otherwise, and where a | may part it in two cells of a table."""
        held = self._held
        ticks = len(held) - len(held.lstrip("`"))
        if ticks == len(held) and not final:
            return None
        if not (self._raw or self._distrust or self._loose):
            close = re.compile(rf"[^\r\n|]*?(?<!`)`{{{ticks}}}(?!`)").match(held, ticks, LONGEST_SPAN)
            if close:
                return None if close.end() == len(held) and not final else (held[: close.end()], close.end())
            if not (final or len(held) >= LONGEST_SPAN or re.search(r"[\r\n|]", held)):
                return None
        self._nested |= ticks >= 3 and self._at_start
        return held[:ticks], ticks

    # HTML

    def _tag(self, final: bool) -> tuple[str, int] | None:
        held = self._held
        if held[1:2] in ("!", "?"):
            return self._hit("&lt;", 1)
        if len(held) == 1:
            return None if not final else ("<", 1)
        name = _TAG_NAME.match(held, 0, LONGEST_TAG)
        if name and name.end() == LONGEST_TAG:
            return self._hit("&lt;", 1)
        if name and name.end() == len(held) and not final:
            return None
        if name and _FORBIDDEN.fullmatch(name[1].lower().rpartition(":")[2]):
            return self._hit("&lt;", 1)
        if held.startswith("</") and not name and len(held) > 2:
            return "<", 1
        if not name:
            return self._autolink(final)
        blank = _BLANK.search(held, 0, LONGEST_TAG)
        tag = _TAG.match(held, 0, blank.start() if blank else LONGEST_TAG)
        assert tag
        if not tag["end"]:
            cut = blank is not None or (tag.end() < min(len(held), LONGEST_TAG) and not tag["quote"])
            return self._broken_tag(tag[0], cut, final)
        if self._dangerous(tag[0]):
            return self._hit("&lt;", 1)
        self._raw = True
        self._distrust |= name[1].lower() in ("pre",)
        return tag[0], tag.end()

    def _broken_tag(self, begun: str, cut: bool, final: bool) -> tuple[str, int] | None:
        """A < or an empty line comes before its >. Within raw HTML, browsers read on where Markdown would not."""
        endless = not cut and len(self._held) >= LONGEST_TAG
        if not (cut or endless or final):
            return None
        read = endless or self._raw or self._at_start or self._dangerous(begun)
        return self._hit("&lt;", 1) if read else ("<", 1)

    def _autolink(self, final: bool) -> tuple[str, int] | None:
        """<https://…>, <ann@shop.example>, or a placeholder such as <your name>."""
        held = self._held
        whole = re.compile(r"<[^<>\s]*[<>\s]").match(held, 0, LONGEST_LINK)
        if whole is None and not final and len(held) < LONGEST_LINK:
            return None
        url = re.compile(r"<([^<>\s]*)").match(held, 0, LONGEST_LINK)
        assert url
        self._loose |= "`" in url[1]
        if re.match(r"[A-Za-z][A-Za-z0-9+.\-]{1,31}:", url[1]) and self._unsafe(url[1]):
            return self._hit(NO_LINK, url.end() + (held[url.end() : url.end() + 1] == ">"))
        return "<", 1

    def _dangerous(self, tag: str) -> bool:
        if _HANDLER.search(tag) or "![" in tag or "](" in tag:
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
        blank = _BLANK.search(held, 0, LONGEST_LINK)
        stop = blank.start() if blank else min(len(held), LONGEST_LINK)
        close = _closing(held, stop)
        if held.count("[", 0, min(80, close or stop)) > 12 or (close is None and stop == LONGEST_LINK):
            return self._hit("! ", 1)
        if close is None:
            return ("![", 2) if final or blank else None
        if close + 1 == len(held) and not final:
            return None
        if "`" in held[:close]:  # a span may begin in it that ends behind the address
            return self._hit("! ", 1)
        after = held[close + 1 : close + 2]
        if after == "[":
            return self._hit(NO_IMAGE, close + 1)
        if after != "(":
            label = held[2:close].casefold()
            self._pictures.add(label)
            return self._hit("! ", 1) if label in self._defined else ("![", 2)
        start, end = _destination(held, close + 2)
        if start > stop:
            return "![", 2
        whole = re.compile(r">?(?:\s{1,5}(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s{0,5}\)").match(held, end, stop)
        if not (whole or final or blank or stop == LONGEST_LINK):
            return None
        if not runs_code(held[start:end]) and ours(held[start:end], self._hosts):
            return "![", 2  # its words and its address are read like a link's
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
            return self._address(start, end)
        if not final and re.compile(r">?\s{0,5}").fullmatch(held, end):
            return None
        whole = re.compile(r">?\s{0,5}\)").match(held, end)
        return self._hit(f"] {NO_LINK}", whole.end() if whole else end)

    def _address(self, start: int, end: int) -> tuple[str, int]:
        """An address that may be said. Where it is none, what stands in < > is a tag; a tick in its title opens no span."""
        held = self._held
        self._loose |= held[end : end + 1] != ")"
        end = start - 1 if held[start - 1] == "<" else end
        return held[:end], end

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
        url = re.compile(r"(?:[^\s<>!]|!(?!\[))*").match(held, begun.end(), LONGEST_LINK)
        assert url
        if url.end() == len(held) and not final and len(held) < LONGEST_LINK:
            return None
        label = begun[1].casefold()
        foreign = not ours(url[0], self._hosts)
        if self._unsafe(url[0]) or (foreign and label in self._pictures):
            return self._hit(f"[{begun[1]}]: {NO_LINK}", url.end())
        if foreign:
            self._defined.add(label)
        return self._address(begun.end(), url.end())

    def _bare(self, final: bool) -> tuple[str, int] | None:
        """An address in running text, which pages turn into a link."""
        held = self._held
        url = _BARE.match(held, 0, LONGEST_LINK)
        assert url
        if not url[0]:
            return held[0], 1
        brace = _BRACE.match(held, url.end(), LONGEST_LINK)  # closed, it would be a part of the address
        if (brace or url).end() == len(held) and not final and len(held) < LONGEST_LINK:
            return None
        address = url[0].rstrip(".,;:!?)")
        if self._unsafe(address if address[:4].lower() == "http" else f"https://{address}"):
            return self._hit(NO_LINK, len(address))
        return url[0], url.end()


def _closing(held: str, stop: int) -> int | None:
    """Where the bracket of `![` closes."""
    depth = 0
    for found in re.compile(r"\\.|[\[\]]", re.DOTALL).finditer(held, 1, stop):
        depth += {"[": 1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    return None


def _destination(held: str, start: int) -> tuple[int, int]:
    """Where an address stands that begins about here: to the next space, or to the bracket that closes before it."""
    found = re.compile(r"\s{0,5}<?").match(held, start)
    assert found
    depth, end = 0, min(len(held), LONGEST_LINK)
    for sign in re.compile(r"\\[^\s<]|!\[|[()\s<>]").finditer(held, found.end(), end):
        depth += {"(": 1, ")": -1}.get(sign[0], 0)
        if depth < 0 or sign[0] in ("<", ">", "![") or sign[0].isspace():
            return found.end(), sign.start()
    return found.end(), end
