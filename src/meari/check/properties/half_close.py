"""After our FIN the far end still returns outstanding bytes, and then its own FIN (RFC 9293, 3.6;
shutdown(2)).

Five ways: a FIN directly behind a few bytes, a FIN alone, a FIN behind data in flight, and a FIN
that arrives while the far end is blocked, because we read slowly, or nothing for a while. A reset
instead of the FIN discards bytes in the kernel's buffers. Where much data cannot pass at all
(slow-reader), only the first two are tried; where the end of a connection is wrong in any case
(close), only the bytes are judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...channel import FIN
from ...sockets import unsent
from ..connection import Connection
from ..finding import Evidence, Finding, fail, ok, unknown
from ..path import Path

_UNDER_WAY = 1 << 20
# The buffers of four ends and one or two proxies hold less.
_BLOCKING, _BLOCKING_QUICKLY = 40 << 20, 24 << 20
_SLOWLY = 2.0  # seconds until our FIN is acknowledged, at most
# Fractions of the remaining bytes at which we stop reading for a while.
_SHARES = (0.75, 0.5, 0.25, 0.12)
# Seconds: longer than half a second, the limit of some proxies (socat's -t).
_HOLD = 0.7


def check(path: Path) -> Finding:
    held = path.known.held
    closes = held.get("close", True)
    much = held.get("slow-reader", True) and held.get("bytes", True) and not path.known.large_lost
    ways: list[tuple[str, Callable[[Path, Connection], bool]]] = [
        ("few", _with_few),
        ("nothing", _at_once),
    ]
    if much and closes:
        ways += [("data", _with_data), ("slowly", _read_slowly), ("blocked", _while_blocked)]
    sent = filled = 0
    for way, prepare in ways:
        few = way in ("few", "nothing")
        with path.connect() if few else path.stream() as connection:
            filled += prepare(path, connection)
            ended = path.ends(connection)
            missing = connection.missing
            sent += connection.asked
            faults = connection.conclude()
            found: dict[str, Evidence] = {"way": way, "sent": connection.asked, "missing": missing}
            if missing:
                return fail(
                    "lost" if ended else "stuck",
                    **found,
                    how=connection.end or "",
                    patience_s=path.patience,
                )
            if faults and not few:
                return fail("faults", **found, first=str(faults[0]))
            if not ended and closes:
                return fail("never", **found, patience_s=path.patience)
            if connection.end != FIN and closes:
                return fail("reset", **found, how=connection.end or "")
    if not (much and closes):
        failed = [
            name for name in ("close", "bytes", "slow-reader", "large") if not held.get(name, True)
        ]
        return unknown("few-alone", sent=sent, property=", ".join(failed))
    return ok("ok" if filled else "not-blocked", sent=sent)


def _with_few(path: Path, connection: Connection) -> bool:
    connection.ask(1)
    return False


def _with_data(path: Path, connection: Connection) -> bool:
    connection.ask(path.amount(_UNDER_WAY))
    return False


def _at_once(path: Path, connection: Connection) -> bool:
    """Send only the FIN."""
    return False


def _read_slowly(path: Path, connection: Connection) -> bool:
    """Send our FIN while the outstanding bytes are returned slowly."""
    connection.ask(path.amount(_BLOCKING_QUICKLY if path.plan.quick else _BLOCKING))
    blocked = path.fills(connection)
    connection.parting = True
    until = time.monotonic() + _SLOWLY
    path.sips(connection, lambda: time.monotonic() > until)
    return blocked


def _while_blocked(path: Path, connection: Connection) -> bool:
    """The same while nothing can be returned.

    A FIN is queued behind the data before it. So we read slowly until the FIN is acknowledged, and
    then stop several times: every program on the path that has seen the FIN has to wait for us and
    keep unwritten bytes.
    """
    connection.ask(path.amount(_BLOCKING_QUICKLY if path.plan.quick else _BLOCKING))
    blocked = path.fills(connection)
    connection.parting = True
    until = time.monotonic() + _SLOWLY
    path.sips(connection, lambda: unsent(connection.sock) == 0 or time.monotonic() > until)
    left = connection.missing
    for share in _SHARES[-1:] if path.plan.quick else _SHARES:
        path.sips(connection, lambda: connection.missing <= share * left)  # noqa: B023
        hold = time.monotonic() + _HOLD
        while connection.end is None and time.monotonic() < hold:
            path.fills(connection, quiet=_HOLD / 4, most=_HOLD / 4)
            path.wait(0.01)
    return blocked
