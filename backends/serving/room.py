"""How much fits: slots and prefix cache are sized from a budget of memory, not from hope."""

import logging
from dataclasses import dataclass

from llmspec.errors import PlaceError

MOST_PREFIX = 2**30
"""Bytes that the prefix cache takes unasked; a budget in the spec may give it more."""
log = logging.getLogger("llmspec")


@dataclass(frozen=True)
class Room:
    """What a budget holds."""

    slots: int
    """Requests answered at the same time."""
    prefix: int
    """Bytes for blocks of prompts that may be asked again."""

    @classmethod
    def of(cls, slot: int, wanted: int, max_len: int, budget: int | None, free: int | None, prefix: bool) -> "Room":
        """`slot`: bytes of one; `budget`: the spec's. Without one, three quarters of what is free, and a small prefix cache."""
        if budget is not None and free is not None and budget > free:
            raise PlaceError(f"endpoint.limits.memory is {size(budget)} and {size(free)} are free beside the model: lower it")
        allowed = budget if budget is not None else free * 3 // 4 if free is not None else wanted * slot + MOST_PREFIX
        slots = min(wanted, allowed // slot)
        if slots == 0:
            raise PlaceError(_refusal(slot, max_len, allowed, budget is not None))
        rest = allowed - slots * slot
        room = cls(slots, 0 if not prefix else rest if budget is not None else min(rest // 2, MOST_PREFIX))
        room._tell(wanted, max_len, allowed)
        return room

    def _tell(self, wanted: int, max_len: int, allowed: int) -> None:
        log.info(
            "%s for key-value memory: %d requests of %d tokens, %s for prefixes",
            size(allowed),
            self.slots,
            max_len,
            size(self.prefix),
        )
        if self.slots < wanted:
            log.warning(
                "only %d requests at a time fit, and endpoint.limits.concurrency is %d: the others wait", self.slots, wanted
            )


def _refusal(slot: int, max_len: int, allowed: int, named: bool) -> str:
    whose = "endpoint.limits.memory gives" if named else "there is for it only"
    cure = "raise endpoint.limits.memory or " if named else ""
    return (
        f"one request of {max_len:,} tokens needs {size(slot)} of key-value memory, and {whose} {size(allowed)}: "
        f"{cure}lower endpoint.limits.input_tokens or output_tokens"
    )


def size(num: int) -> str:
    """1500000000 -> '1.5 GB'"""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if num >= unit:
            return f"{num / unit:.1f} {name}"
    return f"{num} bytes"
