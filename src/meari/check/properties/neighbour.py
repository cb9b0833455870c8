"""A slow client does not delay others: some send half a line and wait, some never read, and a new
client is served.

A server that blocks in a read for the rest of a line (CS:APP 11.4, echo), or in a write to a full
buffer, serves no other client meanwhile; one with a pool of threads serves until all of them block
(CS:APP 12.5.5).
"""

from __future__ import annotations

import contextlib
import statistics

from ...errors import ConnectError, DeadlineError, IncompleteRead, LocalError
from ..connection import Connection
from ..finding import Finding, fail, ok, unknown, warn
from ..path import Different, Path

_NEVER_READ = 2
_UNREAD = 16 << 20
_HALF = 20  # bytes
_SILENCE = ""
_TIMES = 20
_SLOWED = 5  # times as long as alone, and more than the margin of this path


def check(path: Path) -> Finding:
    try:
        return _beside(path)
    except Different:
        return unknown("mixed")  # the property concurrency reports that


def _beside(path: Path) -> Finding:
    alone = _newcomer(path)
    if isinstance(alone, str):
        return unknown("alone")
    # Too many clients are the question of another property.
    clients = (path.known.capacity or 1) if path.known.turns_away else path.plan.clients
    readers = min(_NEVER_READ, (clients - 1) // 2)
    if path.known.forgets:
        return unknown("forgotten")
    if clients < 2:
        return unknown("no-room")
    with contextlib.ExitStack() as opened:
        connections: list[Connection] = []
        try:
            for n in range(clients - 1):  # one more is the new client
                connections.append(opened.enter_context(path.connect()))
                connections[-1].ask(path.amount(_UNREAD) if n < readers else _HALF)
        except (ConnectError, LocalError) as error:
            return unknown("not-that-many", reason=str(error))
        for half in connections[readers:]:
            half.asked -= 1  # its newline
        path.fills(*connections, most=1.0)
        for reader in connections[:readers]:
            reader.asked = reader.written
        beside = _newcomer(path)
        for half in connections[readers:]:
            half.asked += 1
        # End all of them properly: resets are the question of another property.
        path.ends(*connections)
    found = {"neighbours": len(connections), "alone_s": alone, "patience_s": path.patience}
    if isinstance(beside, str):
        return (
            fail("starved", **found)
            if beside == _SILENCE
            else fail("turned-away", **found, how=beside)
        )
    found["beside_s"] = beside
    if beside > _SLOWED * alone and beside > alone + path.margin:
        return warn("slowed", **found)
    return ok("ok", **found)


def _newcomer(path: Path) -> float | str:
    """The seconds of a round trip of a client that connects now, or why it is not served.

    Raises Different.
    """
    try:
        with path.rio() as rio:
            times = [path.round_trip(rio) for _ in range(_TIMES)]
            # Its end is the question of another property.
            with contextlib.suppress(OSError, DeadlineError):
                rio.shutdown()
                path.renew(rio, 0.1 + path.margin)
                rio.read()
            return statistics.median(times)
    except DeadlineError:
        return _SILENCE
    except IncompleteRead:
        return "FIN"
    except ConnectError as error:
        return "; ".join(error.reasons)
    except OSError as error:
        return error.strerror or str(error)
