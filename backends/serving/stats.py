"""What the engine is doing, and what it has done since it began: metrics read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Counts at one moment."""

    running: int
    """Requests that have a slot."""
    waiting: int
    slots: int
    kv_tokens_used: int
    """Tokens in memory: those of the running, and those kept for prompts to come."""
    kv_tokens_total: int
    prefix_tokens_asked: int
    """Tokens of all prompts that were looked up,"""
    prefix_tokens_hit: int
    """and those that need not be read."""
    tokens_drafted: int
    """Tokens that were guessed,"""
    tokens_accepted: int
    """and those that came true."""
    steps: int
