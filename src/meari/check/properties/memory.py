"""A peer that never reads costs the server a buffer, not all sent bytes: a server that cannot write
stops reading. The memory of a connection is released at its end.
"""

from __future__ import annotations

import contextlib

from ..finding import Finding, fail, ok, unknown
from ..path import Path
from .churn import come_and_go

_WARM, _CONNECTIONS = 5, 50
_UNREAD = 64 << 20
_GROWTH = 24 << 20  # bytes: many times the buffers and stacks of a server


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    for _ in range(_WARM):
        come_and_go(path, 1)
    before = server.memory()
    for _ in range(_CONNECTIONS):
        come_and_go(path, 1)
    left = max(0, server.memory() - before)
    if left > _GROWTH:
        return fail("leaks", connections=_CONNECTIONS, left=left)
    before = server.memory()
    with path.connect() as connection:
        connection.ask(_UNREAD)
        path.fills(connection)
        sent = connection.written
        grown = max(0, server.memory() - before)
        connection.asked = max(sent, connection.returned)
        with contextlib.suppress(OSError):
            path.returns(connection)
            path.ends(connection)
    found = {"sent": sent, "grown": grown, "connections": _CONNECTIONS, "left": left}
    return fail("grows", **found) if grown > _GROWTH else ok("ok", **found)
