"""Small writes come back as soon as they are sent.

Where the far end, or something between, leaves Nagle's algorithm on (RFC 896; RFC 1122, 4.2.3.4), the second of two small
segments waits for the acknowledgement of the first, which our kernel delays (RFC 1122, 4.2.3.2; 40 ms on Linux) when it
has nothing to send with it. That is asked of both: pairs of bytes with our delay, and without (tcp(7), TCP_QUICKACK).
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable

from ...errors import DeadlineError, IncompleteRead
from ...rio import Rio
from ..finding import Finding, fail, ok, warn
from ..path import Path

_SINGLES, _PAIRS = 100, 9
_LONG_ENOUGH = 1.0
_DELAYED = 0.02  # seconds: RFC 1122 allows 500 ms, systems take 40 to 200


def check(path: Path) -> Finding:
    with path.rio() as rio:
        rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            singles = _times(lambda: path.round_trip(rio), _SINGLES)
            delayed = _times(lambda: _pair(path, rio, 0), _PAIRS)
            prompt = _times(lambda: _pair(path, rio, 1), _PAIRS)
        except DeadlineError:
            return fail("stuck", patience_s=path.patience)
        except (OSError, IncompleteRead):
            return fail("ended")
    found = {
        "messages": len(singles),
        "p50_s": statistics.median(singles),
        "p99_s": sorted(singles)[int(0.99 * (len(singles) - 1))],
        "pair_s": statistics.median(delayed),
        "prompt_s": statistics.median(prompt),
    }
    if found["pair_s"] > found["prompt_s"] + _DELAYED and found["pair_s"] > 2 * found["prompt_s"]:
        return warn("nagle", **found)
    return ok("ok", **found)


def _times(once: Callable[[], float], n: int) -> list[float]:
    """*n* of them, or as many as there is time for, 3 at the least."""
    until = time.monotonic() + _LONG_ENOUGH
    found: list[float] = []
    while len(found) < min(n, 3) or (len(found) < n and time.monotonic() < until):
        found.append(once())
    return found


def _pair(path: Path, rio: Rio, quickly: int) -> float:
    """Two bytes in two segments, until both are back; whether our kernel acknowledges *quickly*."""
    path.renew(rio)
    rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, quickly)
    began = time.perf_counter()
    rio.writen(b"\n")
    rio.writen(b"\n")
    rio.readexactly(1)
    rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, quickly)  # it is not permanent
    rio.readexactly(1)
    return time.perf_counter() - began
