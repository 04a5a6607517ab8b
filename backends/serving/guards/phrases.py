"""Reads `phrases.txt`: lists of words, and patterns that use them."""

import re
from pathlib import Path


def _read(text: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """The lists of words, and the patterns with the word before them."""
    lines = [line for line in re.sub(r"\n +", " ", text).splitlines() if line and not line.startswith("#")]
    lists = {name: given.split() for name, _, given in (line.partition(" = ") for line in lines) if name.isupper()}
    return lists, [(kind, pattern) for kind, _, pattern in (line.partition(" ") for line in lines) if not kind.isupper()]


def forms(word: str) -> tuple[str, str]:
    """rules? -> rules, rule"""
    return word.replace("?", ""), word.replace("s?", "")


LISTS, PATTERNS = _read(Path(__file__).with_name("phrases.txt").read_text(encoding="utf-8"))
