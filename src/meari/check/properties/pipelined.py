"""Many messages in one segment are all returned: a server that reads one line of the received bytes
has to look for the next in its buffer.

CS:APP 10.5 and 12.2: a select server whose next line is only in its own buffer, or that copies the
buffer.
"""

from __future__ import annotations

from ...errors import DeadlineError
from ...rio import Rio
from ..finding import Finding, fail, ok, unknown
from ..path import Path

_LINES = 50
_MESSAGE = b"".join(b"line %03d\n" % i for i in range(_LINES))  # 450 bytes: one segment on any path
_NUDGE = b"one more\n"


def check(path: Path) -> Finding:
    with path.rio() as rio:
        came = bytearray()
        first = 0
        try:
            rio.writen(_MESSAGE)
            _read(path, rio, came, len(_MESSAGE))
            if bytes(came) == _MESSAGE:
                return ok("ok", lines=_LINES, bytes=len(_MESSAGE))
            first = came.count(b"\n")
            if first >= _LINES and not _some_lines(bytes(came), _MESSAGE):
                return ok("changed", lines=_LINES, came=repr(bytes(came[:40]))[1:])
            if not first:
                return unknown("different", came=repr(bytes(came[:40]))[1:])
            rio.writen(_NUDGE)
            _read(path, rio, came, len(_MESSAGE) + len(_NUDGE))
        except (OSError, DeadlineError) as error:
            return fail("ended", lines=_LINES, returned=came.count(b"\n"), how=str(error))
    path.known.lines_lost = True
    missing = _LINES + 1 - came.count(b"\n")
    nudged = came.endswith(_NUDGE) or not _some_lines(bytes(came), _MESSAGE + _NUDGE)
    seen = "lost" if nudged and missing else "held"
    return fail(seen, lines=_LINES, returned=first, missing=missing)


def _read(path: Path, rio: Rio, came: bytearray, n: int) -> None:
    """Read until *n* bytes are received, or none for a while."""
    try:
        while len(came) < n:
            path.renew(rio)
            data = rio.read()
            if not data:
                raise ConnectionResetError("the far end closed the connection")
            came += data
    except DeadlineError:
        pass


def _some_lines(came: bytes, of: bytes) -> bool:
    """True if *came* is some of the lines *of*, in their order."""
    lines = iter(of.splitlines(keepends=True))
    return all(line in lines for line in came.splitlines(keepends=True))
