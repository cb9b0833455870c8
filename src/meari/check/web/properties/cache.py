"""Each request reaches the far end where it says so: a response with no-store is never an earlier
one (RFC 9111, 5.2.2.5). May a response that allows it come from a cache?
"""

from __future__ import annotations

from ...finding import Finding, fail, ok
from ..path import WebPath

_MARK = "X-Meari-Mark"
_STORABLE = "headers?Cache-Control=max-age%3D600&X-Meari-Run="


def check(path: WebPath) -> Finding:
    run = f"{path.known.run:08x}"
    for n in range(3):
        mark = f"{run}-{n}"
        report = path.get(f"report?cache={run}", headers=[(_MARK, mark)]).report() or {}
        arrived = {str(name).lower(): str(value) for name, value in report.get("headers", [])}
        came = arrived.get(_MARK.lower(), "")
        if came != mark and came.startswith(run):
            return fail("stored", requests=n + 1)
        if came != mark:
            return fail("lost-mark", header=_MARK)
    ages = [path.get(f"{_STORABLE}{run}").value("age") for _ in range(2)]
    return ok("cache", age=ages[-1]) if ages[-1] else ok("ok", requests=3)
