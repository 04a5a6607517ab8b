"""Scores how much a text tries to take the model over: phrases that belong together, not single words.

A phrase is a verb, the thing it is done to, and whose that is, within a few words of each other, in several languages
(`phrases.txt`). The points of all that is found are added. Text that speaks about attacks ("explain …", quoted) is let through.
"""

import re

from backends.serving.guards.phrases import LISTS, PATTERNS, forms
from backends.serving.guards.readings import readings, visible, words

THRESHOLD = 3
NEAR = 16
"""Words on either side of a telling word that are looked at: longer than any phrase."""
_QUOTED = re.compile(r"[\"“”«»„`‘][^\"“”«»„`]{6,300}[\"“”«»„`’]|(?<!\w)'[^'\n]{6,300}'(?!\w)")


def _compiled(pattern: str, lists: dict[str, list[str]]) -> "re.Pattern[str]":
    for name, given in lists.items():
        pattern = pattern.replace(name, f"(?:{'|'.join(given)})")
    return re.compile(pattern.replace("GAP", r"(?: \w+){0,4}?"))


_RULES = [(int(kind), _compiled(pattern, LISTS)) for kind, pattern in PATTERNS if kind.isdecimal()]
_ABOUT = re.compile("|".join(pattern for kind, pattern in PATTERNS if kind == "about"))
_STEMS = frozenset(LISTS["STEMS"])
_TELLING = frozenset(form for name in ("ANCHORS", "DROP", "RULES", "TEXT") for word in LISTS[name] for form in forms(word))


def attacks(text: str) -> bool:
    return score(text) >= THRESHOLD


def score(text: str) -> int:
    """The points of the reading that has most; undoing a disguise is worth one more (see `readings`)."""
    most = 0
    for reading, more in readings(text):
        points = points_of(reading, least=2 if more else 1)
        if points and not more:
            points -= _about(text, reading, points)
        most = max(most, points + more if points > 0 else 0)
        if most >= THRESHOLD:
            break
    return most


def points_of(reading: list[str], least: int = 1) -> int:
    return _points(_near(reading, least))


def _points(near: str) -> int:
    """A line break may be a blank: only an empty line, or a list's next item, ends a phrase for certain."""
    ways = {near, near.replace(" \n ", " ")}
    return sum(points for points, rule in _RULES if any(rule.search(way) for way in ways)) if near else 0


def _near(reading: list[str], least: int) -> str:
    """Only what stands near a telling word: most texts have few of them. Nothing, when there are fewer than `least`."""
    telling = [at for at, word in enumerate(reading) if word in _TELLING or word[:5] in _STEMS]
    if len({reading[at] for at in telling}) < least:
        return ""
    kept: list[str] = []
    done = 0
    for at in telling:
        start = max(done, at - NEAR)
        kept += [*([] if start == done else ["|"]), *reading[start : at + NEAR + 1]]
        done = min(len(reading), at + NEAR + 1)
    return " ".join(kept)


def _about(text: str, reading: list[str], points: int) -> int:
    """What to take off when the text speaks about such phrases: they are quoted, and it is asked what they are."""
    if not _QUOTED.search(text) or not _ABOUT.search(" ".join(reading)):
        return 0
    return points - points_of(words(visible(_QUOTED.sub(" ", text))))
