"""A byte without a newline is returned at once: TCP transfers bytes, not lines (RFC 9293, 3.8; RFC
862 echoes any data).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from ...errors import ConnectError, DeadlineError, IncompleteRead
from ...rio import Rio
from ..finding import Finding, fail, ok, warn
from ..path import Path

_ALONE = b"m"
_MORE = 0.2  # seconds for the rest of unexpected bytes
_SHOWN = 40  # bytes of it


def check(path: Path) -> Finding:
    try:
        rio = path.rio()
    except ConnectError as error:
        if all(os.strerror(errno.ECONNRESET) in reason for reason in error.reasons):
            return fail("ended")  # it was connected, and reset before connect(2) returned
        raise
    with rio:
        began = time.perf_counter()
        try:
            rio.writen(_ALONE)
            came = rio.readexactly(1)
            took = time.perf_counter() - began
            return ok("ok", took_s=took) if came == _ALONE else _different(rio, came)
        except DeadlineError:
            waited = path.patience
        except (OSError, IncompleteRead):
            return fail("ended")
        return _held(path, rio, waited)


def _held(path: Path, rio: Rio, waited: float) -> Finding:
    """The byte was not returned alone: find out with which further data it is."""
    try:
        rio.writen(b"\n")
        path.renew(rio)
        came = rio.readexactly(2)
        return warn("lines", waited_s=waited) if came == _ALONE + b"\n" else _different(rio, came)
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


def _different(rio: Rio, came: bytes) -> Finding:
    """The finding for unexpected bytes, with their beginning."""
    rio.deadline = time.monotonic() + _MORE
    with contextlib.suppress(OSError, DeadlineError):
        came += rio.read(_SHOWN)
    return fail("different", came=repr(came[:_SHOWN])[1:])
