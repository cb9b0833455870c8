"""Many clients are served at once (CS:APP 12): all are connected, and each sends one line.

An iterative server answers the first; the others wait in the accept queue, connected, until the
first has ended (CS:APP 11.4). So the answered connections are closed, which shows whether the
others were only waiting.
"""

from __future__ import annotations

import contextlib

from ...errors import ConnectError, LocalError
from ..connection import Connection, pump
from ..finding import Finding, fail, ok, unknown, warn
from ..path import Path

# Seconds: a SYN to a full accept queue is dropped, and retransmitted after 1 (RFC 6298).
_SYN_AGAIN = 0.9


def check(path: Path) -> Finding:
    wanted = path.plan.clients
    base = path.known.base.connect if path.known.base is not None else 0.0
    with contextlib.ExitStack() as opened:
        connections: list[Connection] = []
        refused = ""
        for _ in range(wanted):
            try:
                connections.append(opened.enter_context(path.connect()))
            except ConnectError as error:
                refused = "; ".join(error.reasons)
                break
            except LocalError as error:
                return unknown("here", reason=str(error))
        for connection in connections:
            connection.ask(1)
        served = _served(path, connections)
        mixed = [connection.faults[0] for connection in connections if mixes(path, connection)]
        if mixed:
            return fail("mixed", clients=len(connections), wrong=len(mixed), first=str(mixed[0]))
        if len(served) == wanted:
            path.ends(*connections)
            late = [
                connection.took for connection in connections if connection.took > _SYN_AGAIN + base
            ]
            return (
                warn("queue", clients=wanted, late=len(late), most_s=max(late))
                if late
                else ok("ok", clients=wanted)
            )
        path.known.capacity = max(1, len(served))
        turned_away = sum(
            connection.end is not None for connection in connections if connection not in served
        )
        later = _later(path, connections, served)
        path.ends(*(connection for connection in connections if connection.end is None))
    unconnected = wanted - len(connections)
    forgotten = len(connections) - len(served) - later - turned_away if served else 0
    path.known.forgets = bool(forgotten and not later and not refused)
    found = {
        "clients": wanted,
        "served": len(served),
        "later": later,
        "turned_away": turned_away,
        "unconnected": unconnected,
        "forgotten": forgotten,
    }
    if later:
        return fail("one-by-one" if len(served) == 1 else "some-at-a-time", **found)
    path.known.turns_away = bool(turned_away or (refused and "no answer" not in refused))
    if refused or turned_away:
        return fail("refused", **found, reason=refused or "closed")
    if not served:
        return fail("nobody", **found)
    return fail("one-by-one" if len(served) == 1 else "some-at-a-time", **found)


def mixes(path: Path, connection: Connection) -> bool:
    """True if *line* received bytes of another connection, or wrong bytes from a far end that
    returns a single client's correctly.
    """
    alone_is_right = path.known.held.get("bytes", True)
    return any(alone_is_right or fault.kind == "foreign" for fault in connection.faults)


def _served(path: Path, connections: list[Connection]) -> list[Connection]:
    """The *lines* that are answered within a while of the last answer."""
    pump(
        connections,
        lambda: all(
            not connection.missing or connection.end is not None for connection in connections
        ),
        path.stop,
        quiet=path.patience,
    )
    return [connection for connection in connections if not connection.missing]


def _later(path: Path, connections: list[Connection], served: list[Connection]) -> int:
    """The number answered once the answered ones have ended, and so on."""
    later = 0
    while served:
        path.ends(*served)
        waiting = [
            connection
            for connection in connections
            if connection.missing and connection.end is None
        ]
        if not waiting:
            break
        connections = waiting
        pump(
            waiting,
            lambda: any(not each.missing or each.end is not None for each in waiting),  # noqa: B023
            path.stop,
            quiet=path.patience,
        )
        served = [connection for connection in waiting if not connection.missing]
        later += len(served)
    return later
