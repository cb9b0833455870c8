"""Children that have ended are reaped (CS:APP 8.4.3, 8.5.5): signals do not queue, so the handler
has to reap all of them.
"""

from __future__ import annotations

import time

from ..finding import Finding, fail, ok, unknown
from ..path import Path
from .churn import come_and_go

_AT_ONCE, _TIMES = 8, 5
_FEW = 3  # zombies that may be left: a server that reaps at the next accept leaves the last
_SETTLE = 1.5  # seconds within which they have to be reaped


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    at_once = min(_AT_ONCE, path.known.capacity or _AT_ONCE)
    for _ in range(_TIMES):
        come_and_go(path, at_once)
    until = time.monotonic() + _SETTLE
    while (zombies := server.zombies()) > 0 and time.monotonic() < until:
        path.wait(0.02)
    found = {"connections": at_once * _TIMES, "zombies": zombies}
    return fail("left", **found) if zombies > _FEW else ok("ok", **found)
