"""One client's reset is its own: others are still served, those there before and those that come after.

A server that writes to a connection that was reset gets EPIPE, and a SIGPIPE that ends it (CS:APP 11.6; send(2)); one
whose wrapper exits at any error ends at ECONNRESET.
"""

from __future__ import annotations

import contextlib
import time

from ...errors import ConnectError, DeadlineError, IncompleteRead
from ...rio import Rio
from ..finding import Finding, fail, ok, unknown
from ..line import Line, pump
from ..path import Different, Path

_AMOUNTS = (0, 4096, 65536, 1 << 20, 4 << 20)  # bytes under way at the reset
_SETTLE = 0.02  # seconds for the far end to meet what was done


def check(path: Path) -> Finding:
    with contextlib.ExitStack() as opened:
        bystander = None if path.known.capacity == 1 else opened.enter_context(path.rio())
        if bystander is not None and not _served(path, bystander):
            return unknown("bystander")
        resets = 0
        for amount in _AMOUNTS:
            for fin_first in (False, True):
                try:
                    with path.line() as line:
                        _in_mid_echo(path, line, path.amount(amount) if amount else 0, fin_first)
                        line.abort()
                except ConnectError as error:
                    return fail("gone", resets=resets, reason="; ".join(error.reasons))
                resets += 1
                path.stop.wait(_SETTLE)
        if bystander is not None and not _served(path, bystander):
            return fail("bystander", resets=resets)
        try:
            with path.rio() as newcomer:
                if not _served(path, newcomer):
                    return fail("not-served", resets=resets, patience_s=path.patience)
        except ConnectError as error:
            return fail("gone", resets=resets, reason="; ".join(error.reasons))
    return ok("ok", resets=resets)


def _in_mid_echo(path: Path, line: Line, amount: int, fin_first: bool) -> None:
    """*amount* bytes are with the far end, and few of them read here; perhaps our FIN as well."""
    if amount:
        line.ask(amount)
        path.fills(line, most=0.5, quiet=0.1)
    if fin_first:
        line.asked = line.written
        line.parting = True
        line.part()
    if amount and not fin_first:
        line.reading = True
        until = time.monotonic() + path.patience
        pump([line], lambda: line.returned > 0 or line.end is not None or time.monotonic() > until, path.stop, quiet=path.patience)


def _served(path: Path, rio: Rio) -> bool:
    try:
        path.round_trip(rio)
        return True
    except (OSError, DeadlineError, IncompleteRead, Different):
        return False
