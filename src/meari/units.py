"""Numbers as people read them: counts, durations, sizes."""

from __future__ import annotations

import math

_SECONDS = {"ms": 1e-3, "us": 1e-6, "s": 1}


def amount(n: int, thing: str) -> str:
    """ "1 message", "84,112 messages"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def duration(seconds: float) -> str:
    """ "58.1 us", "2.31 ms", "1.5 s": three digits."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * factor:  # what would be rounded to the next unit is written in it
            return (
                f"{seconds / factor:.3g} {unit}"
                if seconds < 999.5 * factor
                else f"{seconds:,.0f} s"
            )
    return f"{seconds / 1e-6:.3g} us"


def size(count: float) -> str:
    """ "64 bytes", "16.8 MB", in powers of ten."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.99995 * factor:
            return f"{count / factor:,.1f} {unit}"
    return amount(round(count), "byte")


def parse_seconds(text: str) -> float | None:
    """The seconds in "2", "0.5s", "200ms" or "50us"; None if it is no number of them."""
    unit = next((unit for unit in _SECONDS if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * _SECONDS.get(unit, 1)
    except ValueError:
        return None
    return None if math.isnan(value) else value
