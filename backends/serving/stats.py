"""What the engine is doing, and what it has done since it began: metrics read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Counts at one moment."""

    running: int = 0
    """Requests that have a slot."""
    waiting: int = 0
    slots: int = 0
    kv_tokens_used: int = 0
    """Tokens in memory: those of the running, and those kept for prompts to come."""
    kv_tokens_total: int = 0
    prefix_tokens_asked: int = 0
    """Tokens of all prompts that were looked up,"""
    prefix_tokens_hit: int = 0
    """and those that need not be read."""
    tokens_drafted: int = 0
    """Tokens that were guessed,"""
    tokens_accepted: int = 0
    """and those that came true."""
    steps: int = 0
