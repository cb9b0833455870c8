"""Every new connection is served: a balancer with one dead backend, or a pool with one dead worker,
serves only some of them.

Connections are opened one after the other; each sends a line and waits for a byte of the answer.
Other properties judge the answer itself.
"""

from __future__ import annotations

from collections import Counter

from ...errors import ConnectError
from ..connection import pump
from ..finding import Evidence, Finding, fail, ok, unknown
from ..path import Path

_CONNECTIONS, _MORE = 16, 48  # the latter once one was not served, to estimate the share
_NOBODY = 4  # not served, and none served: then there is no share
_LATE = 10  # multiple of the longest answer so far that is too late
# Tolerance of "1 of n", in connections: other clients' connections shift a balancer's turns.
_NEAR = 1


def check(path: Path) -> Finding:
    reasons: list[str] = []  # one for each connection; "" if it was served
    longest = 0.0
    wanted = _CONNECTIONS
    while len(reasons) < wanted:
        reason, took = _one(path, longest)
        reasons.append(reason)
        longest = max(longest, took)
        if reason:
            wanted = _MORE
        served = reasons.count("")
        if not served and len(reasons) >= _NOBODY:
            return unknown("nobody", connections=len(reasons), reason=reasons[-1])
    unserved = len(reasons) - served
    if not unserved:
        return ok("ok", connections=len(reasons))
    last = max(i for i, reason in enumerate(reasons) if not reason)
    reason = Counter(filter(None, reasons)).most_common(1)[0][0]
    found: dict[str, Evidence] = {
        "connections": len(reasons),
        "unserved": unserved,
        "reason": reason,
    }
    found["forgotten"] = reasons.count("silence")
    if unserved == len(reasons) - 1 - last:
        return fail("stops", **found, served=served)
    one_in = round(len(reasons) / unserved)
    if one_in >= 2 and abs(len(reasons) / one_in - unserved) <= _NEAR:
        return fail("one-in", **found, one_in=one_in)
    return fail("some", **found)


def _one(path: Path, longest: float) -> tuple[str, float]:
    """The reason why one connection was not served, or ""; and the seconds of its answer."""
    try:
        connection = path.connect()
    except ConnectError as error:
        return "; ".join(error.reasons), 0.0
    with connection:
        connection.ask(1)
        least = 0.5 if path.plan.quick else 1.0
        quiet = max(least, 20 * connection.took, _LATE * longest)
        began = connection.moved
        pump(
            [connection],
            lambda: connection.returned > 0 or connection.end is not None,
            path.stop,
            quiet=quiet,
        )
        took = connection.moved - began
        answered, end = connection.returned > 0, connection.end
        path.ends(connection, quiet=path.margin + 0.1)
        return ("" if answered else f"no-echo-{end}" if end else "silence"), took
