"""Pings are answered, and codes and reasons of a close arrive in both directions (RFC 6455, 5.5).

A pong that comes much sooner than an echo is not the far end's.
"""

from __future__ import annotations

from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_TIMES = 5
_CODES = (1000, 3000, 4999)
_SOONER = 3  # multiple


def check(path: WebPath) -> Finding:
    with path.websocket() as socket:
        socket.pump(lambda: socket.open, path.patience)
        echoes, pongs = [], []
        for n in range(_TIMES):
            took = socket.echo(path.patience)
            if took is None:
                return fail("failed", how=socket.end)
            echoes.append(took)
            mark = b"meari %d" % n
            socket.frames.send_ping(mark)
            socket.flush()
            if not socket.pump(lambda: len(socket.pongs) > n, path.patience):  # noqa: B023
                return fail("no-pong", how=socket.end)
            if socket.pongs[n][0] != mark:
                return fail("other-pong", sent=mark.decode(), came=repr(socket.pongs[n][0]))
            pongs.append(socket.pongs[n][1] - socket.asked)
    for code in _CODES:
        with path.websocket() as socket:
            socket.pump(lambda: socket.open, path.patience)
            socket.frames.send_close(code, "meari")
            socket.flush()
            socket.pump(lambda: socket.frames.close_rcvd is not None, path.patience)
            came = socket.frames.close_rcvd
            if came is None:
                return fail("no-close", sent=code, how=socket.end)
            if (int(came.code), came.reason) != (code, "meari"):
                return fail("close-changed", sent=code, came=f"{int(came.code)} {came.reason}")
    if min(echoes) > 0.001 and min(pongs) * _SOONER < min(echoes):
        return warn("not-the-far-end", pong_s=min(pongs), echo_s=min(echoes))
    return ok("ok", pong_s=min(pongs), echo_s=min(echoes), codes=len(_CODES))
