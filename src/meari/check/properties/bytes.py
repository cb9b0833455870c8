"""Every byte is returned, identical and in order: all 256 values, then as much of the keyed stream
as there is time for.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter

from ...errors import DeadlineError, IncompleteRead
from ...rio import Rio
from ..connection import Connection, pump
from ..finding import Finding, fail, ok, unknown
from ..path import Path

_VALUES = bytes(value for value in range(256) if value != 0x0A) + b"\n"  # one line
# Outstanding bytes, at most: full buffers are the question of other properties.
_WINDOW = 1 << 17
_MOST = 10**9
_SEARCH = 5.0  # seconds
_SHOWN = 8  # values


def check(path: Path) -> Finding:
    wrong = _values(path)
    if wrong is not None:
        return wrong
    if path.known.lines_lost:
        return unknown("lines-lost")
    if path.known.large_lost:
        return unknown("large-lost")
    with path.stream() as connection:
        began = time.monotonic()
        until = began + (0.3 if path.plan.quick else 2.0)
        connection.ask(1)  # the first alone: a far end that returns nothing gets no more
        if path.returns(connection) and not connection.faults:
            pump(
                [connection],
                lambda: (
                    _asked(connection, until)
                    or connection.end is not None
                    or bool(connection.faults)
                ),
                path.stop,
                quiet=path.patience,
            )
            path.returns(connection)
        took = time.monotonic() - began
        sent, missing = connection.written, connection.missing
        faults = connection.conclude()
    if missing and connection.end is None and all(fault.kind == "truncated" for fault in faults):
        return fail("stuck", sent=sent, missing=missing, patience_s=path.patience)
    if not faults and connection.end is not None:
        return fail("ended-early", sent=sent, how=connection.end)
    if not faults:
        path.known.rate = sent / took
        return ok("ok", sent=sent, took_s=took, rate=sent / took)
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in Counter(fault.kind for fault in faults).most_common()
    )
    return fail(
        "faults",
        sent=sent,
        faults=len(faults),
        kinds=kinds,
        first=str(faults[0]),
        ended=connection.end or "",
    )


def _asked(connection: Connection, until: float) -> bool:
    """Send more while there is time; True if no more will be sent."""
    if time.monotonic() >= until or connection.asked >= _MOST:
        return connection.written == connection.asked
    if connection.missing < _WINDOW // 2:
        connection.ask(_WINDOW // 2)
    return False


def _values(path: Path) -> Finding | None:
    """The faults of single values, if any."""
    came = b""
    with path.rio() as rio:
        try:
            rio.writen(_VALUES)
            came = rio.readexactly(len(_VALUES))
            if came == _VALUES:
                return None
        except DeadlineError:
            with contextlib.suppress(DeadlineError):  # its result
                came = rio.read()
        except IncompleteRead as error:
            came = error.partial
        except OSError as error:
            return fail("ended", how=error.strerror or "")
    damaged, tried = _search(path)
    if not damaged and not came:
        return fail("nothing", patience_s=path.patience)
    if not damaged:
        return fail("different", sent=len(_VALUES), returned=len(came), came=repr(came[:24])[1:])
    values = [f"0x{value:02x}" for value in damaged]
    some = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    return fail(
        "values", values=values, some=some, first=damaged[0], number=len(damaged), tried=tried
    )


def _search(path: Path) -> tuple[list[int], int]:
    """The values that are not returned, found by bisection; and the number of values tried."""
    damaged: list[int] = []
    known = 0
    until = time.monotonic() + _SEARCH
    left = [_VALUES[:-1]]
    while left and time.monotonic() < until:
        values = left.pop()
        with path.rio() as rio:
            if _comes_back(path, rio, values + b"\n"):
                known += len(values)
            elif len(values) == 1:
                known += 1
                damaged.append(values[0])
            else:
                left += [values[len(values) // 2 :], values[: len(values) // 2]]
    return damaged, known


def _comes_back(path: Path, rio: Rio, connection: bytes) -> bool:
    rio.deadline = time.monotonic() + 0.05 + path.margin
    try:
        rio.writen(connection)
        return rio.readexactly(len(connection)) == connection
    except (OSError, DeadlineError, IncompleteRead):
        return False
