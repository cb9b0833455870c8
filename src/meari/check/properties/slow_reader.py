"""A slow reader loses nothing: the far end and any middlebox wait for it (flow control, RFC 9293,
3.8.6).
"""

from __future__ import annotations

import time

from ..connection import pump
from ..finding import Finding, fail, ok, unknown
from ..path import Path

_SENT = 16 << 20
_EVERY = 0.02  # seconds from one read to the next
_SLOWLY = 1.0  # seconds of slow reading; then the rest is read at full speed


def check(path: Path) -> Finding:
    with path.stream() as connection:
        connection.ask(path.amount(_SENT))
        until = time.monotonic() + (_SLOWLY / 2 if path.plan.quick else _SLOWLY)
        while connection.end is None and time.monotonic() < until:
            path.fills(connection, quiet=_EVERY, most=_EVERY)
            connection.reading = True
            before = connection.returned
            pump(
                [connection],
                lambda: connection.returned > before or connection.end is not None,  # noqa: B023
                path.stop,
                quiet=_EVERY,
                most=_EVERY,
            )
        slowly = connection.returned
        complete = path.returns(connection)
        sent, missing = connection.asked, connection.missing
        # The property of the cause reports it.
        faults = [fault for fault in connection.conclude() if fault.kind != "truncated"]
    found = {"sent": sent, "slowly": slowly, "missing": missing}
    if faults:
        return fail("faults", **found, faults=len(faults), first=str(faults[0]))
    if not complete:
        return fail(
            "ended" if connection.end else "stuck",
            **found,
            how=connection.end or "",
            patience_s=path.patience,
        )
    # Everything came at once, after the slow reading.
    return ok("ok", **found) if slowly else unknown("not-slowly", **found)
