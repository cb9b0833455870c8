"""Small writes come back as soon as they are sent.

Where the far end, or something between, leaves Nagle's algorithm on (RFC 896; RFC 1122, 4.2.3.4), the second of two small
segments waits for the acknowledgement of the first, which our kernel delays (RFC 1122, 4.2.3.2; 40 ms on Linux) when it
has nothing to send with it. What a far end writes in more than one piece shows it: two lines, if it returns line by line;
more than its buffer holds; two writes of ours, if the path is longer than the time between them. Each is timed with our
delay and without (tcp(7), TCP_QUICKACK), and only where the two differ it is Nagle's doing.
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

_SINGLES, _EACH = 100, 9
_PIECES = ((b"\n\n",), (b"\n", b"\n"), (b"a line\n" * 3000,))
_LONG_ENOUGH = 0.5  # seconds, of each kind
_DELAYED = 0.02  # seconds: RFC 1122 allows 500 ms, systems take 40 to 200


def check(path: Path) -> Finding:
    with path.rio() as rio:
        rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            singles = _times(lambda: path.round_trip(rio), _SINGLES)
            found = {
                "messages": len(singles),
                "p50_s": statistics.median(singles),
                "p99_s": sorted(singles)[int(0.99 * (len(singles) - 1))],
            }
            for pieces in _PIECES:
                if path.known.large_lost and pieces is _PIECES[-1]:
                    continue
                delayed = _times(lambda: _pieces(path, rio, pieces, 0), _EACH)  # noqa: B023
                prompt = _times(lambda: _pieces(path, rio, pieces, 1), _EACH)  # noqa: B023
                waited, usual = statistics.median(delayed), statistics.median(prompt)
                if waited - usual > max(_DELAYED, statistics.pstdev(prompt)) and min(delayed[1:]) > usual:
                    return warn("nagle", **found, delayed_s=waited, prompt_s=usual)
        except DeadlineError:
            return fail("stuck", patience_s=path.patience)
        except (OSError, IncompleteRead):
            return fail("ended")
    return ok("ok", **found)


def _times(once: Callable[[], float], n: int) -> list[float]:
    """*n* of them, or as many as there is time for, 3 at the least."""
    until = time.monotonic() + _LONG_ENOUGH
    found: list[float] = []
    while len(found) < min(n, 3) or (len(found) < n and time.monotonic() < until):
        found.append(once())
    return found


def _pieces(path: Path, rio: Rio, pieces: tuple[bytes, ...], quickly: int) -> float:
    """Write *pieces*, and wait until all is back; whether our kernel acknowledges *quickly*."""
    path.renew(rio)
    rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, quickly)
    missing = sum(map(len, pieces))
    began = time.perf_counter()
    for piece in pieces:
        rio.writen(piece)
    while missing:
        came = rio.read(missing)
        if not came:
            raise IncompleteRead(b"", missing)
        missing -= len(came)
        rio.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, quickly)  # it is not permanent
    return time.perf_counter() - began
