"""The far end can be reached from the beginning of the check to its end. (reachability.py notices
when it cannot.)
"""

from __future__ import annotations

import time

from ...errors import ConnectError
from ..finding import Finding, fail, ok
from ..path import Path


def check(path: Path) -> Finding:
    known = path.known
    if known.gone is not None:
        return fail("gone", since_s=known.gone.since - known.began, reason=known.gone.reason)
    try:
        with path.connect() as connection:
            connection.ask(1)
            answered = path.returns(connection) or connection.returned > 0
    except ConnectError as error:
        return fail("gone", since_s=path.heard - known.began, reason="; ".join(error.reasons))
    if not answered:
        return fail("gone", since_s=path.heard - known.began, reason="connected, and no echo")
    ended = [(outage.since, outage.until) for outage in known.outages if outage.until is not None]
    if ended:
        since, until = max(ended, key=lambda one: one[1] - one[0])
        return fail(
            "outage", outages=len(ended), since_s=since - known.began, lasted_s=until - since
        )
    return ok("ok", seconds_s=time.monotonic() - known.began)
