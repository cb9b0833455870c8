"""A large write passes where small ones do: segments of full size are not lost.

A path with a smaller MTU than it announces, whose "too big" messages (ICMP) are lost, passes small
segments and drops full ones for ever: a black hole (RFC 2923, 2.1). Loss drops segments of any
size, and retransmissions get through. If no byte moves, the same is tried with segments of 536
bytes (TCP_MAXSEG, tcp(7)), which any path passes.
"""

from __future__ import annotations

from ...errors import ConnectError
from ...sockets import tcp_info
from ..connection import Connection
from ..finding import Finding, fail, ok, unknown, warn
from ..path import Path

_SMALL = 5
_AMOUNT = 1 << 19
_STEP = 1 << 14
_SURE_MSS = 536  # RFC 9293, 3.7.1: every host accepts it
_SETTLE = 2  # round trips
_LOSS = 0.01  # of the segments


def check(path: Path) -> Finding:
    with path.connect() as connection:
        for _ in range(_SMALL):
            connection.ask(1)
            if not path.returns(connection):
                return unknown("small")
        complete, found = _large(path, connection)
    if complete:
        most = max(3, _LOSS * found["segments"])
        if found["retransmitted"] > most:
            # Segments that had already arrived were only late. Not each is reported: an ACK has
            # room for one (RFC 2883).
            lost = max(0, found["retransmitted"] - found["duplicates"])
            reordered = lost <= most or found["duplicates"] > lost
            return warn("reordered" if reordered else "loss", **found, lost=lost)
        return ok("ok", **found)
    path.known.large_lost = True
    if connection.end is not None:
        return fail("ended", **found, how=connection.end)
    if not _passes(path, None) and _passes(path, _SURE_MSS):
        return fail("black-hole" if found["ours"] else "black-hole-back", **found, sure=_SURE_MSS)
    return fail("stuck", **found, patience_s=path.patience)


def _large(path: Path, connection: Connection) -> tuple[bool, dict[str, int]]:
    """True if it was returned, and the kernel's counters."""
    before = tcp_info(connection.sock)
    asked = connection.asked
    complete = True
    # In steps: full buffers are not the question.
    while complete and connection.asked - asked < path.amount(_AMOUNT):
        connection.ask(_STEP)
        complete = path.returns(connection)
    path.wait(_SETTLE * connection.took)  # the last DSACKs are still in flight
    info = tcp_info(connection.sock)
    return complete, {
        "sent": connection.asked - asked,
        "missing": connection.missing,
        "mss": info.send_mss,
        "retransmitted": info.retransmitted - before.retransmitted,
        "segments": info.data_sent - before.data_sent,
        "duplicates": info.duplicates - before.duplicates,
        "reorderings": info.reorderings - before.reorderings,
        "unacked": info.unacked,
        # Our segments are lost.
        "ours": int(info.unacked > 0 and info.retransmitting > 0),
    }


def _passes(path: Path, mss: int | None) -> bool:
    """True if some segments are returned, of at most *mss* bytes, or as long as the path is said to
    pass.
    """
    try:
        with path.connect(mss) as connection:
            connection.ask(_STEP)
            return path.returns(connection)
    except ConnectError:
        return False
