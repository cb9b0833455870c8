"""An idle connection stays: many are left idle at once, for rising times, and then each is asked for a line.

What is lost has been closed (a FIN came, and when), reset (at once, or at the first byte), or dropped in silence: what we
send is not even acknowledged. The longest that lived and the shortest that did not bracket the limit. There is no keepalive
on ours: what is sent to keep a connection is no idleness.
"""

from __future__ import annotations

import contextlib
import math
import time

from ...channel import FIN
from ...errors import ConnectError, LocalError
from ...sockets import tcp_info
from ..finding import Finding, fail, ok, unknown
from ..line import Line, pump
from ..path import Path

# Of the longest. Where it is long, the times stand close together: what limits there are (60 s, 300 s, 350 s) differ by less.
_SHARES = (1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
_FIRST = 0.5  # seconds; shorter times are not worth a connection


def check(path: Path) -> Finding:
    room = path.known.capacity or max(1, path.plan.clients // 2)  # the other half is for what runs beside them
    times = [share * path.plan.idle for share in _SHARES if share * path.plan.idle >= _FIRST or share == 1][:room]
    with contextlib.ExitStack() as opened:
        lines: list[tuple[float, Line]] = []
        for seconds in times:
            try:
                line = opened.enter_context(path.line())
            except (ConnectError, LocalError) as error:
                return unknown("not-that-many", reason=str(error))
            line.ask(1)
            if not path.returns(line):
                return unknown("not-returned")
            lines.append((seconds, line))
        ended = _wait(path, lines)
        path.ends(*(line for _, line in lines if line.end is None))
    if ended:
        try:
            with path.line() as line:
                line.ask(1)
                served = path.returns(line)
        except ConnectError:
            served = False
        if not served:
            return unknown("gone", lost=len(ended))
    return _judge(times, ended)


def _wait(path: Path, lines: list[tuple[float, Line]]) -> dict[float, tuple[str, float]]:
    """How each idle time ended that did not end well, and after how long."""
    ended: dict[float, tuple[str, float]] = {}
    for seconds, line in sorted(lines, key=lambda item: item[0]):
        due = line.moved + seconds
        watched = [other for _, other in lines if other.end is None]
        pump(watched, lambda: time.monotonic() >= due or line.end is not None, path.stop, quiet=math.inf, most=math.inf)  # noqa: B023
        if line.end is not None:
            ended[seconds] = ("closed" if line.end == FIN else "reset", line.ended_at - line.moved)
            continue
        idled = time.monotonic() - line.moved
        line.ask(1)
        watched = [other for _, other in lines if other.end is None]
        pump(watched, lambda: not line.missing or line.end is not None, path.stop, quiet=path.patience)  # noqa: B023
        if line.missing:
            unacked = line.end is None and not path.unix and tcp_info(line.sock).unacked
            ended[seconds] = ("reset-when-used" if line.end is not None else "silence" if unacked else "no-answer", idled)
    return ended


def _judge(times: list[float], ended: dict[float, tuple[str, float]]) -> Finding:
    alive = [seconds for seconds in times if seconds not in ended]
    if not ended:
        return ok("ok", longest_s=max(times), connections=len(times))
    first = min(ended)
    how, after = min((ended[seconds] for seconds in ended), key=lambda item: item[1])
    found = {
        "longest_alive_s": max((s for s in alive if s < after), default=0.0),
        "dead_s": after,
        "connections": len(times),
        "lost": len(ended),
    }
    if any(seconds > first for seconds in alive):
        return fail("some", **found, survived_s=max(alive))
    return fail(how, **found)
