"""Whoever reads slowly loses nothing: the far end, and whatever is between, waits (flow control, RFC 9293, 3.8.6)."""

from __future__ import annotations

import time

from ..finding import Finding, fail, ok
from ..line import pump
from ..path import Path

_SENT = 16 << 20
_EVERY = 0.02  # seconds from one read to the next
_SLOWLY = 1.0  # seconds of it; then the rest is read as fast as it comes


def check(path: Path) -> Finding:
    with path.stream() as line:
        line.ask(path.amount(_SENT))
        until = time.monotonic() + (_SLOWLY / 2 if path.plan.quick else _SLOWLY)
        while line.end is None and time.monotonic() < until:
            path.fills(line, quiet=_EVERY, most=_EVERY)
            line.reading = True
            before = line.returned
            pump([line], lambda: line.returned > before or line.end is not None, path.stop, quiet=_EVERY, most=_EVERY)  # noqa: B023
        slowly = line.returned
        complete = path.returns(line)
        sent, missing = line.asked, line.missing
        faults = [fault for fault in line.conclude() if fault.kind != "truncated"]  # that is told as what it comes from
    found = {"sent": sent, "slowly": slowly, "missing": missing}
    if faults:
        return fail("faults", **found, faults=len(faults), first=str(faults[0]))
    if not complete:
        return fail("ended" if line.end else "stuck", **found, how=line.end or "", patience_s=path.patience)
    return ok("ok", **found)
