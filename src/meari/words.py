"""Numbers as people read them."""

from __future__ import annotations


def amount(n: int, thing: str) -> str:
    """ "1 message", "84,112 messages"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
