"""Small writes are returned without delay.

If the far end or a middlebox leaves Nagle's algorithm on (RFC 896; RFC 1122, 4.2.3.4), the second
of two small segments waits for the ACK of the first, which our kernel delays (RFC 1122, 4.2.3.2; 40
ms on Linux) when it has no data to send with it. A far end that writes in more than one piece shows
it: two lines, if it returns line by line; more than its buffer holds; two writes of ours, if the
round trip is longer than the time between them. Each is timed with delayed and with immediate ACKs
(tcp(7), TCP_QUICKACK); only a difference between the two is attributed to Nagle's algorithm.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import DeadlineError, IncompleteRead
from ...rio import Rio
from ..finding import Evidence, Finding, fail, ok, warn
from ..path import Different, Path

_SINGLES, _EACH = 100, 9
_TWO = (b"\n", b"\n")
_PIECES = ((b"\n\n",), _TWO, (b"a line\n" * 3000,))
_GAPS = (0.12, 0.33, 0.66)  # fractions of a round trip, between two writes
_DISTANT = 0.002  # seconds of a round trip: from here on such a gap can be timed
_LONG_ENOUGH = 0.5  # seconds, of each kind
_DELAYED = 0.02  # seconds of a delayed ACK: RFC 1122 allows 500 ms, systems have 40 to 200


def check(path: Path) -> Finding:
    with path.rio() as rio:
        writing, worst = 1, None
        try:
            singles = _times(lambda: path.round_trip(rio), _SINGLES)
            found = {
                "messages": len(singles),
                "p50_s": statistics.median(singles),
                "p99_s": sorted(singles)[int(0.99 * (len(singles) - 1))],
            }
            for pieces, gap in _ways(path):
                writing = max(map(len, pieces))
                delayed = _times(lambda: _pieces(path, rio, pieces, gap, 0), _EACH)  # noqa: B023
                prompt = _times(lambda: _pieces(path, rio, pieces, gap, 1), _EACH)  # noqa: B023
                waited, usual = statistics.median(delayed), statistics.median(prompt)
                if (
                    waited - usual > max(_DELAYED, statistics.pstdev(prompt))
                    and min(delayed[1:]) > usual
                ):
                    slow = _Waits(waited, usual, gap)
                    worst = slow if worst is None or slow.delayed > worst.delayed else worst
        except Different as error:
            return fail("different", came=repr(error.came)[1:])
        except DeadlineError:
            how = "stuck" if writing == 1 else "stuck-large"
            return fail(how, written=writing, patience_s=path.patience)
        except (OSError, IncompleteRead):
            return fail("ended")
    if worst is not None:
        return warn("nagle-gap" if worst.gap else "nagle", **found, **worst.evidence())
    return ok("ok", **found)


@dataclass(frozen=True, slots=True)
class _Waits:
    """Seconds until all bytes are returned, with delayed and with immediate ACKs, of two writes
    *gap* seconds apart.
    """

    delayed: float
    prompt: float
    gap: float

    def evidence(self) -> dict[str, Evidence]:
        return {"delayed_s": self.delayed, "prompt_s": self.prompt, "gap_s": self.gap}


def _ways(path: Path) -> list[tuple[tuple[bytes, ...], float]]:
    """The pieces to write, and the seconds between two writes.

    On a path with a round trip of some milliseconds, a far end or a proxy holds the second of two
    writes only if it receives it after it has passed on the first, and before our ACK of that: some
    gaps are shorter than a round trip.
    """
    pieces = _PIECES[:-1] if path.known.large_lost else _PIECES
    round_trip = path.known.base.echo if path.known.base is not None else 0.0
    gaps = [share * round_trip for share in _GAPS] if round_trip >= _DISTANT else []
    return [*((each, 0.0) for each in pieces), *((_TWO, gap) for gap in gaps)]


def _times(once: Callable[[], float], n: int) -> list[float]:
    """*n* measurements, or as many as there is time for, at least 3."""
    until = time.monotonic() + _LONG_ENOUGH
    found: list[float] = []
    while len(found) < min(n, 3) or (len(found) < n and time.monotonic() < until):
        found.append(once())
    return found


def _pieces(path: Path, rio: Rio, pieces: tuple[bytes, ...], gap: float, quickly: int) -> float:
    """The seconds from the last of *pieces*, written *gap* seconds apart, until all bytes are
    returned.

    *quickly*: our kernel acknowledges at once.
    """
    path.renew(rio)
    _acknowledge(rio.sock, quickly)
    whole = b"".join(pieces)
    back = bytearray()
    for n, piece in enumerate(pieces):
        if n and gap:
            path.wait(gap)
        began = time.perf_counter()
        rio.writen(piece)
    while len(back) < len(whole):
        came = rio.read(len(whole) - len(back))
        if not came:
            raise IncompleteRead(bytes(back), len(whole))
        back += came
        _acknowledge(rio.sock, quickly)  # the option is not permanent
    took = time.perf_counter() - began
    if back != whole:
        raise Different(bytes(back[:40]))
    return took


def _acknowledge(sock: socket.socket, quickly: int) -> None:
    """Let our kernel acknowledge at once, or not (tcp(7)); a Unix socket acknowledges nothing."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, quickly)
