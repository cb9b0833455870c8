"""A byte without a newline comes back alone: TCP carries bytes, not lines (RFC 9293, 3.8; RFC 862 echoes any data)."""

from __future__ import annotations

import time

from ...errors import DeadlineError, IncompleteRead
from ...rio import Rio
from ..finding import Finding, fail, ok, warn
from ..path import Path

_ALONE = b"m"


def check(path: Path) -> Finding:
    with path.rio() as rio:
        began = time.perf_counter()
        rio.writen(_ALONE)
        try:
            came = rio.readexactly(1)
            took = time.perf_counter() - began
            return ok("ok", took_s=took) if came == _ALONE else fail("different", came=repr(came)[1:])
        except DeadlineError:
            waited = path.patience
        except (OSError, IncompleteRead):
            return fail("ended")
        return _held(path, rio, waited)


def _held(path: Path, rio: Rio, waited: float) -> Finding:
    """It did not come alone: with what does it?"""
    try:
        rio.writen(b"\n")
        path.renew(rio)
        came = rio.readexactly(2)
        return warn("lines", waited_s=waited) if came == _ALONE + b"\n" else fail("different", came=repr(came)[1:])
    except DeadlineError:
        pass
    except (OSError, IncompleteRead):
        return fail("ended")
    try:
        rio.shutdown()
        path.renew(rio)
        came = rio.readn(2)
        return fail("end" if came == _ALONE + b"\n" else "nothing", waited_s=waited)
    except (OSError, DeadlineError):
        return fail("nothing", waited_s=waited)
