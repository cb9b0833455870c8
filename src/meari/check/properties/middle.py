"""The host that completes the handshake also returns the bytes: connecting takes one round trip,
and so does an echo.

If an echo takes much longer, the connection is split on the path, or the far end is slow. The
minimum of several is compared: a busy machine lengthens most of them, not all.
"""

from __future__ import annotations

import statistics
import time

from ...errors import DeadlineError, IncompleteRead
from ...sockets import tcp_info
from ..finding import Finding, ok, unknown, warn
from ..path import Baseline, Different, Path

_CONNECTS, _ECHOES = 5, 50
_LONG_ENOUGH = 0.5  # seconds for all of the echoes
_MUCH = 5  # multiple of the connect time
_DIFFERENCE = 0.001  # seconds, more than scheduling causes


def check(path: Path) -> Finding:
    connects: list[float] = []
    echoes: list[float] = []
    try:
        for _ in range(_CONNECTS):
            with path.connect() as connection:
                connects.append(connection.took)
                # One after the other: a far end that serves one at a time has served it.
                path.ends(connection, quiet=0.2)
        with path.rio() as rio:
            until = time.monotonic() + _LONG_ENOUGH
            while len(echoes) < 2 or (len(echoes) < _ECHOES and time.monotonic() < until):
                echoes.append(path.round_trip(rio))
            info = None if path.unix else tcp_info(rio.sock)
    except DeadlineError:
        return unknown("nothing", patience_s=path.patience)
    except Different as error:
        return unknown("different", came=repr(error.came)[1:])
    except (OSError, IncompleteRead):
        return unknown("ended")
    base = Baseline(min(connects), min(echoes), statistics.median(echoes), max(echoes))
    path.known.base = base
    if info is None:
        return ok("unix", echo_s=base.echo, typical_s=base.typical, worst_s=base.worst)
    kernel = info.least_round_trip or info.round_trip
    found = {
        "connect_s": base.connect,
        "echo_s": base.echo,
        "kernel_s": kernel,
        "typical_s": base.typical,
        "worst_s": base.worst,
    }
    if base.echo > _MUCH * max(base.connect, kernel) and base.echo - base.connect > _DIFFERENCE:
        return warn("nearer", **found)
    return ok("ok", **found)
