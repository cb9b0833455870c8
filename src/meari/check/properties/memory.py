"""A peer that never reads costs the server a buffer, not all that it sends: whoever cannot write stops reading."""

from __future__ import annotations

import contextlib

from ..finding import Finding, fail, ok, unknown
from ..path import Path

_UNREAD = 64 << 20
_GROWTH = 24 << 20  # bytes: many times what a server's buffers and stacks are


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    before = server.memory()
    with path.line() as line:
        line.ask(_UNREAD)
        path.fills(line)
        sent = line.written
        grown = max(0, server.memory() - before)
        line.asked = max(sent, line.returned)
        with contextlib.suppress(OSError):
            path.returns(line)
            path.ends(line)
    found = {"sent": sent, "grown": grown}
    return fail("grows", **found) if grown > _GROWTH else ok("ok", **found)
