"""One client's manners are no other's business: some send half a line and wait, some never read, and a newcomer is served.

A server that waits in a read for the rest of a line (CS:APP 11.4, echo), or in a write for room, serves nobody else
meanwhile; one with a pool of threads serves until all of them wait (CS:APP 12.5.4).
"""

from __future__ import annotations

import contextlib
import statistics

from ...errors import ConnectError, DeadlineError, IncompleteRead, LocalError
from ..finding import Finding, fail, ok, unknown, warn
from ..line import Line
from ..path import Different, Path

_NEVER_READ = 2
_UNREAD = 16 << 20
_TIMES = 20
_SLOWED = 5  # times as long as alone, and more than the margin


def check(path: Path) -> Finding:
    try:
        return _beside(path)
    except Different:
        return unknown("mixed")  # that is concurrency's to tell


def _beside(path: Path) -> Finding:
    alone = _newcomer(path)
    if alone is None:
        return unknown("alone")
    clients = path.plan.clients
    if path.known.turns_away:  # too many are another property's question
        clients = (path.known.capacity or 2) - 1
    with contextlib.ExitStack() as opened:
        lines: list[Line] = []
        halves: list[Line] = []
        try:
            for _ in range(min(_NEVER_READ, clients)):
                lines.append(opened.enter_context(path.line()))
                lines[-1].ask(_UNREAD)
            for _ in range(max(1, clients - _NEVER_READ)):
                halves.append(opened.enter_context(path.line()))
                halves[-1].ask(16)
                halves[-1].asked -= 1  # its newline
        except (ConnectError, LocalError) as error:
            return unknown("not-that-many", reason=str(error))
        path.fills(*lines, most=1.0)
        path.fills(*halves)
        for line in lines:
            line.asked = line.written
        beside = _newcomer(path)
        for half in halves:
            half.asked += 1
        path.ends(*lines, *halves)  # all of them end well: they are not this property's to break
    found = {"neighbours": len(lines) + len(halves), "alone_s": alone}
    if beside is None:
        return fail("starved", **found, patience_s=path.patience)
    found["beside_s"] = beside
    if beside > _SLOWED * alone and beside > alone + path.margin:
        return warn("slowed", **found)
    return ok("ok", **found)


def _newcomer(path: Path) -> float | None:
    """What a round trip takes a client that connects now, or None if it is not served."""
    try:
        with path.rio() as rio:
            times = [path.round_trip(rio) for _ in range(_TIMES)]
            with contextlib.suppress(OSError, DeadlineError):  # how it ends is not asked here
                rio.shutdown()
                path.renew(rio, 0.1 + path.margin)
                rio.read()
            return statistics.median(times)
    except (OSError, DeadlineError, IncompleteRead, ConnectError):
        return None
