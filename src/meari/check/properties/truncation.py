"""The far end ends with close_notify before its FIN (RFC 8446, 6.1).

Without it the receiver cannot tell the end of the data from a connection that was cut on the way.
"""

from __future__ import annotations

from ...channel import FIN
from ..finding import Finding, fail, ok, unknown
from ..path import Path

_TIMES = 3


def check(path: Path) -> Finding:
    missing = 0
    for _ in range(_TIMES):
        with path.connect() as connection:
            connection.ask(1)
            if not path.returns(connection):
                return unknown("not-returned")
            if not path.ends(connection):
                return unknown("never", patience_s=path.patience)
            if connection.end != FIN:
                return unknown("reset", how=connection.end or "")
            missing += connection.truncated
    if missing:
        return fail("missing", missing=missing, times=_TIMES)
    return ok("ok", times=_TIMES)
