"""An idle server uses no processor time: neither for an idle connection nor for one that has ended
(CS:APP 12.2).
"""

from __future__ import annotations

import time

from ..finding import Finding, fail, ok, unknown
from ..path import Path
from .churn import come_and_go

_WATCHED = 1.0  # seconds
_SPINS = 0.2  # of a core


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    come_and_go(path, 1)
    with path.connect() as connection:
        connection.ask(1)
        path.returns(connection)
        began, before = time.monotonic(), server.processor()
        path.wait(_WATCHED / 2 if path.plan.quick else _WATCHED)
        share = (server.processor() - before) / (time.monotonic() - began)
        # On a busy machine a spinning process gets little, but is runnable all the time.
        spins = share > _SPINS or server.doing() == "spins"
        path.ends(connection)
    return fail("spins", share=share) if spins else ok("ok", share=share)
