"""Both directions at once without a deadlock; and how much is accepted before anything is read.

First much is written and nothing read: the far end and any middlebox accept what their buffers
hold, and then have to stop reading (TCP's window closes; RFC 9293, 3.8.6). Then everything is read
while more is written, and all has to be returned.
"""

from __future__ import annotations

from ..finding import Finding, fail, ok, unknown, warn
from ..path import Path

# Bytes: the buffers of four ends with a proxy between; Linux has at most 32 and 4 MiB of each.
_HELD = 72 << 20
_UNREAD = 128 << 20
_MORE = 8 << 20


def check(path: Path) -> Finding:
    with path.connect() as connection:
        connection.ask(path.amount(_UNREAD, seconds=8))
        blocked = path.fills(connection)
        asked, taken = connection.asked, connection.written
        connection.reading = True
        connection.asked = max(taken, connection.returned)
        connection.ask(path.amount(_MORE))
        complete = path.returns(connection)
        missing, sent = connection.missing, connection.asked
        faults = connection.conclude()
    found = {"sent": sent, "taken": taken, "missing": missing}
    # It continued to read: no unread bytes are left there.
    dropped = taken > _HELD and not complete and connection.end is None
    if dropped or any(fault.kind != "truncated" for fault in faults):
        # The property slow-reader judges that.
        return unknown("lost", **found, first=str(faults[0]) if faults else f"{missing:,}")
    if connection.end is not None and not complete:
        return fail("ended", **found, how=connection.end)
    if not complete:
        return fail("stuck", **found, patience_s=path.patience)
    if blocked:
        return ok("ok", **found)
    return warn("unbounded", **found) if asked >= _UNREAD else ok("not-blocked", **found)
