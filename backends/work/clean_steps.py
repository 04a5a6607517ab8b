"""The cleaning steps, a batch of rows at a time, over Arrow: one regex dialect and one Unicode, whatever the engine."""

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backends.work.clean_personal import HINTS, KINDS, hidden, mask
from backends.work.clean_sources import TEXT, digest

SHOWN = 3
"""Examples per step."""
WIDTH = 160
"""Longest text in an example."""
ALIVE = -1
"""No step has dropped the row."""

Rewrite = Callable[[pa.Array], pa.Array]


@dataclass
class Event:
    """What a step did to a batch: which rows, and how they read before and after."""

    step: int
    column: str
    mask: "np.ndarray[Any, np.dtype[np.bool_]]"
    before: pa.Array
    after: pa.Array | None


@dataclass
class Rows:
    """A batch on its way through the steps. Dropped rows go along to the end, so that every row is accounted for."""

    text: dict[str, pa.Array]
    dropped: "np.ndarray[Any, np.dtype[np.int32]]"
    """The number of the step that dropped the row."""
    touched: "np.ndarray[Any, np.dtype[np.int64]]"
    """Bit n: step n changed the row, or found personal data in it."""
    personal: "np.ndarray[Any, np.dtype[np.bool_]]"
    """Rows with something to redact: only a redact step may show them, masked."""
    keys: dict[str, pa.Array] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def rewrite(self, step: int, columns: list[str], function: Rewrite) -> None:
        for name in columns:
            before, after = self.text[name], function(self.text[name])
            changed = pc.fill_null(pc.not_equal(before, after), False).to_numpy(zero_copy_only=False)
            self.touched |= changed.astype(np.int64) << step
            self.events.append(Event(step, name, changed & (self.dropped == ALIVE), before, after))
            self.text[name] = after

    def drop(self, step: int, column: str, gone: pa.Array) -> None:
        lost = gone.to_numpy(zero_copy_only=False) & (self.dropped == ALIVE)
        self.events.append(Event(step, column, lost, self.text[column], None))
        self.dropped[lost] = step

    def notes(self, redacts: set[int]) -> pa.Array:
        """A few examples, as JSON beside their row; what is personal is hidden before it leaves this function."""
        found: dict[int, list[Any]] = {}
        for event in self.events:
            shown = event.mask if event.step in redacts else event.mask & ~self.personal
            for row in np.flatnonzero(shown)[:SHOWN].tolist():
                after = None if event.after is None else _short(event.after[row].as_py())
                found.setdefault(row, []).append([event.step, event.column, _short(event.before[row].as_py()), after])
        return pa.array([json.dumps(found[n], ensure_ascii=False) if n in found else None for n in range(len(self.dropped))])


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    text = hidden(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


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


def remove(pattern: str) -> Rewrite:
    """Python's regexes: \\w knows every alphabet there, which Java's and RE2's does not."""
    compiled = re.compile(pattern)
    return lambda text: pa.array([v if v is None else compiled.sub("", v) for v in text.to_pylist()], pa.string())


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


def take(rows: Rows, number: int, name: str, options: dict[str, Any]) -> None:
    """One step over one batch."""
    columns = options.get("columns") or list(TEXT)
    match name:
        case "drop_missing":
            for column in columns:
                rows.drop(number, column, pc.equal(length(rows.text[column]), 0))
        case "drop_short":
            rows.drop(number, options["column"], pc.less(length(rows.text[options["column"]]), options["characters"]))
        case "drop_duplicates":  # all rows must be known: here only what they are compared by
            values = zip(*(rows.text[column].to_pylist() for column in columns), strict=True)
            rows.keys[f"_key_{number}"] = pa.array([digest(row) for row in values], pa.binary())
        case "redact":
            take_redact(rows, number, columns, options)
        case _:
            rows.rewrite(number, columns, remove(options["pattern"]) if name == "remove" else REWRITES[name])


def take_redact(rows: Rows, number: int, columns: list[str], options: dict[str, Any]) -> None:
    rows.rewrite(number, columns, redact(options["kinds"]))
    found = (rows.touched >> number & 1).astype(bool)
    rows.personal |= found
    if options["action"] == "drop":
        rows.dropped[found & (rows.dropped == ALIVE)] = number


def norm_question(question: str | None) -> str:
    """What makes two questions the same one: case, spacing and the spelling of characters do not count."""
    return " ".join(unicodedata.normalize("NFKC", question or "").casefold().split())


def cleaner(
    steps: list[tuple[str, dict[str, Any]]], columns: list[str], group_by: str | None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For mapInArrow: raw rows -> clean rows with what happened to them, and what they are compared and grouped by."""
    redacts = {number for number, (name, _) in enumerate(steps) if name == "redact"}

    def one(batch: pa.RecordBatch) -> pa.RecordBatch:
        size = batch.num_rows
        text = {name: batch.column(name).cast(pa.string()) for name in columns}
        rows = Rows(text, np.full(size, ALIVE, np.int32), np.zeros(size, np.int64), np.zeros(size, bool))
        for number, (name, options) in enumerate(steps):
            take(rows, number, name, options)
        kept = {name: batch.column(name) for name in ("_position", "_fault", "_seen", "_raw")}
        made = {
            "_dropped": pa.array(rows.dropped, pa.int32()),
            "_touched": pa.array(rows.touched, pa.int64()),
            "_notes": rows.notes(redacts).cast(pa.string()),
            "_same_question": pa.array([digest([norm_question(q)]) for q in rows.text["question"].to_pylist()], pa.binary()),
            "_same_group": pa.array(
                [v and digest([v]) for v in rows.text[group_by].to_pylist()] if group_by else [None] * size, pa.binary()
            ),
        }
        alive = pa.array(rows.dropped == ALIVE)
        nothing = pa.scalar(None, pa.string())
        blank = {name: pc.and_(alive, pc.greater(length(value), 0)) for name, value in rows.text.items()}
        text = {name: pc.if_else(blank[name], value, nothing) for name, value in rows.text.items()}
        return pa.RecordBatch.from_pydict(kept | made | rows.keys | text)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (one(batch) for batch in batches if batch.num_rows)

    return work
