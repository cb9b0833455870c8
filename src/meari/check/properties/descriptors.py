"""Each connection's descriptor is closed at its end (CS:APP 11.4; in the parent too, 12.1.1): after
many clients none is left.
"""

from __future__ import annotations

import time

from ..finding import Finding, fail, ok, unknown
from ..path import Path
from .churn import come_and_go

_CONNECTIONS = 40
_FEW = 5  # descriptors that may be left
_SETTLE = 2.0  # seconds within which ended connections have to be closed


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    come_and_go(path, 1)  # descriptors opened only once are open now
    before = server.descriptors()
    for _ in range(_CONNECTIONS):
        come_and_go(path, 1)
    until = time.monotonic() + _SETTLE
    while (left := server.descriptors() - before) > 0 and time.monotonic() < until:
        path.wait(0.02)
    found = {"connections": _CONNECTIONS, "left": left, "before": before}
    return fail("leak", **found) if left > _FEW else ok("ok", **found)
