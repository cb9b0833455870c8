"""A reset by one client does not affect others: existing and new connections are still served.

A server that writes to a reset connection gets EPIPE, and a SIGPIPE that ends it (CS:APP 11.6;
send(2)); one whose wrapper exits at any error ends at ECONNRESET.
"""

from __future__ import annotations

import contextlib
import time

from ...errors import ConnectError, DeadlineError, IncompleteRead
from ...rio import Rio
from ...sockets import tcp_info, unsent
from ..connection import Connection
from ..finding import Finding, fail, ok, unknown
from ..path import Different, Path

_AMOUNTS = (0, 4096, 65536)  # bytes in flight at the reset
_MUCH = 8 << 20  # more than the buffers hold: the far end blocks in a write
_STEP = 32768
_TWICE = 2
_AFTERMATH = 0.2  # seconds: on a busy machine a far end dies some time after the reset
_SETTLE = 0.02  # seconds for the far end to notice


def check(path: Path) -> Finding:
    with contextlib.ExitStack() as opened:
        bystander = opened.enter_context(path.rio())
        if not _served(path, bystander):
            return unknown("not-returned")
        alone = path.known.capacity == 1
        if not alone:
            with path.rio() as other:
                alone = not _served(path, other, seconds=0.5 + path.margin)
        if alone:  # it would make all of them wait
            bystander.close()
            with path.rio() as again:
                if not _served(path, again):
                    return unknown("not-returned")
        resets = 0
        try:
            for amount in _AMOUNTS:
                _in_mid_echo(path, amount)
                resets += 1
            for fin in (False, True) * (1 if path.plan.quick and path.spawned is None else _TWICE):
                _while_blocked(path, fin=fin)
                resets += 1
            path.wait(_AFTERMATH + path.margin)
            if not alone and not _served(path, bystander):
                return fail("bystander", resets=resets)
            with path.rio() as newcomer:
                if not _served(path, newcomer):
                    return fail("not-served", resets=resets, patience_s=path.patience)
        except ConnectError as error:
            return fail("gone", resets=resets, reason="; ".join(error.reasons))
    return ok("ok", resets=resets)


def _in_mid_echo(path: Path, amount: int) -> None:
    """A reset with *amount* bytes in flight."""
    with path.connect() as connection:
        if amount:
            connection.ask(amount)
            path.fills(connection, most=0.5)
            path.sips(connection, lambda: connection.returned > 0)
        _reset(path, connection)


def _while_blocked(path: Path, *, fin: bool) -> None:
    """A reset of a far end that blocks in a write, perhaps with our FIN behind unread bytes.

    After a FIN the kernel answers the write with EPIPE and SIGPIPE. The FIN arrives only if the
    receive window has room for it: so no more is sent once the window shows that the far end has
    stopped reading.
    """
    with path.connect() as connection:
        widest = 0
        until = time.monotonic() + 0.5 + path.margin
        while (
            connection.end is None
            and connection.asked < path.amount(_MUCH)
            and time.monotonic() < until
        ):
            connection.ask(_STEP)
            path.fills(connection, most=0.1)
            _acknowledged(path, connection, until)
            window = tcp_info(connection.sock).send_window
            widest = max(widest, window)
            if window < widest / 2:
                break
        if fin:
            connection.asked = connection.written
            connection.parting = True
            connection.part()
            _acknowledged(path, connection, until)
        _reset(path, connection)


def _acknowledged(path: Path, connection: Connection, until: float) -> None:
    while unsent(connection.sock) and time.monotonic() < until:
        path.wait(0.001)


def _reset(path: Path, connection: Connection) -> None:
    connection.abort()
    path.wait(_SETTLE)


def _served(path: Path, rio: Rio, seconds: float | None = None) -> bool:
    try:
        path.round_trip(rio, seconds)
        return True
    except (OSError, DeadlineError, IncompleteRead, Different):
        return False
