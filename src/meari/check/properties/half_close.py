"""After our FIN the far end still owes us what was under way, and then its own FIN (RFC 9293, 3.6; CS:APP's shutdown).

Three ways: a FIN behind data that is under way, a FIN at once, and a FIN while the far end is blocked, because we have
read nothing for a while. A reset in place of the FIN loses what was still in the kernel's buffers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..finding import Evidence, Finding, fail, ok
from ..line import FIN, Line, pump
from ..path import Path

_UNDER_WAY = 1 << 20
_BLOCKING = 8 << 20
_SLOWLY = 1.0  # seconds of reading a piece at a time, at the most
_PAUSE = 0.002
_HOLD = 1.2  # seconds for which we do not read: longer than timers of half a second (socat's -t) allow


def check(path: Path) -> Finding:
    ways: list[tuple[str, Callable[[Path, Line], None]]] = [("data", _with_data), ("nothing", _at_once), ("blocked", _while_blocked)]
    sent = 0
    for way, prepare in ways:
        with path.stream() as line:
            prepare(path, line)
            ended = path.ends(line)
            missing = line.missing
            sent += line.asked
            faults = line.conclude()
            found: dict[str, Evidence] = {"way": way, "sent": line.asked, "missing": missing}
            if missing:
                return fail("lost" if ended else "stuck", **found, how=line.end or "", patience_s=path.patience)
            if faults:
                return fail("faults", **found, first=str(faults[0]))
            if not ended:
                return fail("never", **found, patience_s=path.patience)
            if line.end != FIN:
                return fail("reset", **found, how=line.end or "")
    return ok("ok", sent=sent)


def _with_data(path: Path, line: Line) -> None:
    line.ask(path.amount(_UNDER_WAY))


def _at_once(path: Path, line: Line) -> None:
    """Nothing is sent but the FIN."""


def _while_blocked(path: Path, line: Line) -> None:
    line.ask(path.amount(_BLOCKING))
    path.fills(line)
    line.parting = True  # it goes out behind what is written, as far as the far end reads
    hold = time.monotonic() + (_HOLD / 2 if path.plan.quick else _HOLD)
    while line.end is None and time.monotonic() < hold:
        path.fills(line, quiet=0.1, most=0.1)
        path.stop.wait(0.05)
    line.reading = True
    until = time.monotonic() + _SLOWLY
    while line.end is None and line.missing and time.monotonic() < until:  # so that it is blocked when our FIN comes to it
        before = line.returned
        pump([line], lambda: line.returned > before or line.end is not None, path.stop, quiet=_PAUSE)  # noqa: B023
        path.stop.wait(_PAUSE)
