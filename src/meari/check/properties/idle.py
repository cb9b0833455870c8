"""Idle connections are kept: many are left idle at once, for rising times, and then each has to
return a line.

A lost one was closed (a FIN, with its time), reset (at once or at the first byte), or dropped
silently: our data is not even acknowledged. The longest time survived and the shortest not survived
bracket the limit. Keepalive is off on our side: probes would keep the connection from being idle.
"""

from __future__ import annotations

import contextlib
import math
import time

from ...channel import FIN
from ...errors import ConnectError, LocalError
from ...sockets import tcp_info
from ..connection import Connection, pump
from ..finding import Finding, fail, ok, unknown
from ..path import Path

# Fractions of the longest. Near the longest the times are close together: common limits (60 s, 300
# s, 350 s) differ by less.
_SHARES = (1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
_FIRST = 0.5  # seconds; shorter times are not worth a connection


def check(path: Path) -> Finding:
    # The other half is for the properties that run at the same time.
    room = path.known.capacity or max(1, path.plan.clients // 2)
    times = [
        share * path.plan.idle
        for share in _SHARES
        if share * path.plan.idle >= _FIRST or share == 1
    ][:room]
    with contextlib.ExitStack() as opened:
        connections: list[tuple[float, Connection]] = []
        for seconds in times:
            try:
                connection = opened.enter_context(path.connect())
            except (ConnectError, LocalError) as error:
                return unknown("not-that-many", reason=str(error))
            connection.ask(1)
            if not path.returns(connection):
                return unknown("not-returned")
            connections.append((seconds, connection))
        ended = _wait(path, connections)
        path.ends(*(connection for _, connection in connections if connection.end is None))
    if ended:
        try:
            with path.connect() as connection:
                connection.ask(1)
                served = path.returns(connection)
        except ConnectError:
            served = False
        if not served:
            return unknown("gone", lost=len(ended))
    return _judge(times, ended)


def _wait(
    path: Path, connections: list[tuple[float, Connection]]
) -> dict[float, tuple[str, float]]:
    """The idle times that were not survived, with how and when each ended."""
    ended: dict[float, tuple[str, float]] = {}
    for seconds, connection in sorted(connections, key=lambda item: item[0]):
        due = connection.moved + seconds
        watched = [other for _, other in connections if other.end is None]
        pump(
            watched,
            lambda: time.monotonic() >= due or connection.end is not None,  # noqa: B023
            path.stop,
            quiet=math.inf,
            most=math.inf,
        )
        if connection.end is not None:
            ended[seconds] = (
                "closed" if connection.end == FIN else "reset",
                connection.ended_at - connection.moved,
            )
            continue
        idled = time.monotonic() - connection.moved
        connection.ask(1)
        watched = [other for _, other in connections if other.end is None]
        pump(
            watched,
            lambda: not connection.missing or connection.end is not None,  # noqa: B023
            path.stop,
            quiet=path.patience,
        )
        if connection.missing:
            unacked = connection.end is None and not path.unix and tcp_info(connection.sock).unacked
            ended[seconds] = (
                "reset-when-used"
                if connection.end is not None
                else "silence"
                if unacked
                else "no-answer",
                idled,
            )
    return ended


def _judge(times: list[float], ended: dict[float, tuple[str, float]]) -> Finding:
    alive = [seconds for seconds in times if seconds not in ended]
    if not ended:
        return ok("ok", longest_s=max(times), connections=len(times))
    first = min(ended)
    how, after = min((ended[seconds] for seconds in ended), key=lambda item: item[1])
    found = {
        "longest_alive_s": max((s for s in alive if s < after), default=0.0),
        "dead_s": after,
        "connections": len(times),
        "lost": len(ended),
    }
    if any(seconds > first for seconds in alive):
        return fail("some", **found, survived_s=max(alive))
    return fail(how, **found)
