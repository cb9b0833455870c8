"""The pieces of a request's body arrive when they are sent, and chunks as chunks (RFC 9112, 7.1).

A path that buffers uploads passes the request on when it is whole: the far end sees nothing of a
long upload meanwhile, and the middlebox stores all of it.
"""

from __future__ import annotations

import typing

from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_PIECES = 6
_EVERY, _EVERY_QUICKLY = 0.2, 0.1  # seconds
_SIZE = 1000
_TIMES = 3  # each slower than the one before


def check(path: WebPath) -> Finding:
    every = _EVERY_QUICKLY if path.plan.quick else _EVERY
    held: list[str] = []
    became = ""
    for way in ("length", "chunked"):
        # A busy machine may deliver pieces together once; a path that buffers does so each time.
        for n in range(_TIMES):
            status, report = _upload(path, way, every * (n + 1))
            if status in (411, 501):
                return fail("refused", way=way, status=status)
            if report is None:
                return fail("failed", way=way, status=status)
            body, arrival = report["body"], report["arrival"]
            if body["bytes"] != _PIECES * _SIZE:
                return fail("lost", way=way, arrived=int(body["bytes"]), sent=_PIECES * _SIZE)
            spread = arrival["pieces"][-1][0] - arrival["pieces"][0][0]
            if spread > every * (n + 1) * (_PIECES - 1) / 2:
                break
        else:
            held.append(way)
        if way == "chunked" and body["framing"] != "chunked":
            became = str(body["framing"])
    after = every * _PIECES * _TIMES
    if held:
        return fail("held", ways=", ".join(held), after_s=after, became=became or "-")
    return warn("reframed", became=became) if became else ok("ok", pieces=_PIECES)


def _upload(path: WebPath, way: str, every: float) -> tuple[int, dict[str, typing.Any] | None]:
    chunked = way == "chunked"
    framing = (
        ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(_PIECES * _SIZE))
    )
    piece = b"%x\r\n%b\r\n" % (_SIZE, b"x" * _SIZE) if chunked else b"x" * _SIZE
    with path.open() as client:
        client.send(path.request("report", "POST", [framing]))
        for _ in range(_PIECES):
            path.wait(every)
            client.send(piece)
        if chunked:
            client.send(b"0\r\n\r\n")
        response = client.receive()
    return response.status, response.report()
