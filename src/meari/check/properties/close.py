"""The far end closes: after our FIN on a connection without outstanding bytes, it soon sends its
FIN, and no reset (RFC 9293, 3.6).
"""

from __future__ import annotations

import time

from ...channel import FIN
from ..finding import Finding, fail, ok, unknown, warn
from ..path import Path

_TIMES = 5
_LATE = 0.1  # seconds, above the margin of this path


def check(path: Path) -> Finding:
    took = []
    for _ in range(_TIMES):
        with path.connect() as connection:
            connection.ask(1)
            if not path.returns(connection):
                return unknown("not-returned")
            began = time.monotonic()
            if not path.ends(connection):
                return fail("never", patience_s=path.patience)
            took.append(time.monotonic() - began)
            if connection.end != FIN:
                return fail("reset", how=connection.end or "", after_s=took[-1])
    if min(took) > _LATE + path.margin:
        return warn("late", least_s=min(took), most_s=max(took))
    return ok("ok", least_s=min(took), most_s=max(took))
