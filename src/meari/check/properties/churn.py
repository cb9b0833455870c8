"""Hundreds of short connections are served: connect, one line and its echo, FIN in both
directions.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter

from ...errors import ConnectError
from ..finding import Finding, fail, ok, unknown
from ..path import Path
from .concurrency import mixes

_CONNECTIONS = 500
_AT_ONCE = 8
_SECONDS = 4.0
_MIXED = "bytes that were not sent"


def check(path: Path) -> Finding:
    wanted = _CONNECTIONS // (10 if path.plan.quick else 1)
    at_once = min(_AT_ONCE, path.known.capacity or max(1, path.plan.clients // 4))
    tried = 0
    reasons: Counter[str] = Counter()
    began = time.monotonic()
    while tried < wanted and time.monotonic() < began + _SECONDS and reasons.total() < 2 * _AT_ONCE:
        tried += at_once
        reasons += come_and_go(path, at_once)
    took = time.monotonic() - began
    found = {
        "connections": tried,
        "failed": reasons.total(),
        "forgotten": reasons["silence"],
        "rate": tried / took,
    }
    if reasons[_MIXED]:
        return unknown("mixed")  # the property concurrency reports that
    if reasons:
        return fail(
            "failed",
            **found,
            first=tried - reasons.total() + 1,
            reason=reasons.most_common(1)[0][0],
        )
    return ok("ok", **found)


def come_and_go(path: Path, n: int) -> Counter[str]:
    """The reasons of the failures among *n* connections at once."""
    reasons: Counter[str] = Counter()
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(n):
            try:
                connections.append(opened.enter_context(path.connect()))
                connections[-1].ask(1)
            except ConnectError as error:
                reasons["; ".join(error.reasons)] += 1
        path.returns(*connections)
        reasons += Counter(
            _MIXED
            if mixes(path, connection)
            else (f"no-echo-{connection.end}" if connection.end else "silence")
            for connection in connections
            if connection.missing or mixes(path, connection)
        )
        # The far end's FIN is the question of another property.
        path.ends(*connections, quiet=path.margin + 0.1)
    return reasons
