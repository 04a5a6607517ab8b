"""Masks text that comes in pieces: whatever the pieces, what is said in the end is the same.

The text is cut where nothing that is looked for can straddle, and each segment is masked by itself as soon as it is whole. Where
to cut depends on the characters alone, never on how they arrived.
"""

import re
from collections.abc import Callable

LONGEST = 8192
"""A segment is cut here at the latest: longer than any key."""
_BORDER = re.compile(r"(?<=\S)(?=\s)|(?<=[,;!?。，、！？；：）】」』])(?=[^\x00-\x7f])")
_NUMERIC = re.compile(r"[0-9+()./\-]\Z|(?<![A-Za-z])[A-Z0-9]{1,4}\Z")
"""What a number that is written in groups may have before a gap."""
_GAP = re.compile(r"\s{1,3}(?=\S)|\s{4}")
_GOES_ON = re.compile(r"[0-9A-Z+()./\-]")


class Masker:
    """One answer's text on its way to the client. `mask` sees whole segments; `unfinished` says that one must go on."""

    def __init__(self, mask: Callable[[str], str], unfinished: Callable[[str], bool], stop: bool = False):
        self._mask, self._unfinished, self._stop = mask, unfinished, stop
        self._held = ""
        self._seen = 0
        """How much of it has been looked at for a border."""
        self.hits = 0
        """Segments in which something was masked; with `stop`, nothing is said from the first on."""

    def push(self, text: str) -> str:
        """What may be said now."""
        self._held += text
        said = []
        while (cut := self._cut()) is not None:
            said.append(self._masked(self._held[:cut]))
            self._held, self._seen = self._held[cut:], 0
        return "".join(said)

    def finish(self) -> str:
        said, self._held = self._masked(self._held), ""
        return said

    def _masked(self, segment: str) -> str:
        said = self._mask(segment)
        self.hits += said != segment
        return "" if self._stop and self.hits else said

    def _cut(self) -> int | None:
        """Where the first segment ends; None while that is not known."""
        held = self._held
        for border in _BORDER.finditer(held, self._seen):
            at = border.start()
            if at >= LONGEST:
                break
            joined = self._joined(at)
            if joined is None:
                return None
            if at and not joined:
                return at + held[at].isspace()  # the space goes along: the next guard sees the border too
            self._seen = at + 1
        if len(held) >= LONGEST + 8:
            return LONGEST
        self._seen = len(held)
        return None

    def _joined(self, at: int) -> bool | None:
        """Does the segment go on behind this border? None: the next character will tell."""
        held = self._held
        before = held[:at]
        if self._unfinished(before):
            return True
        if not _NUMERIC.search(held, max(0, at - 5), at):
            return False
        gap = _GAP.match(held, at)
        if gap is None:
            return None if held[at:].isspace() and len(held) - at < 4 else bool(_GOES_ON.match(held, at))
        return len(gap[0]) < 4 and _GOES_ON.match(held, gap.end()) is not None
