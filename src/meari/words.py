"""Numbers and texts as people read them."""

from __future__ import annotations


def amount(n: int, thing: str) -> str:
    """ "1 message", "84,112 messages"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def size(n: float) -> str:
    """A number of bytes: "18 bytes", "5.4 MB" (powers of 1000)."""
    if n < 1000:
        return amount(int(n), "byte")
    for unit in ("kB", "MB", "GB"):
        n /= 1000
        if n < 999.95:
            return f"{n:.1f} {unit}"
    return f"{n / 1000:,.1f} TB"


def escape(text: str) -> str:
    """*text* with all that is not printable ASCII escaped: a peer may have chosen it."""
    return text.encode("unicode_escape").decode("ascii")
