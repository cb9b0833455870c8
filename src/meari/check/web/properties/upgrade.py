"""The handshake of a WebSocket succeeds, and what it negotiates arrives: the subprotocol, the
compression (RFC 6455, 4; RFC 7692).
"""

from __future__ import annotations

from ...finding import Evidence, Finding, Verdict, fail, ok, warn
from ..path import WebPath


def check(path: WebPath) -> Finding:
    finding = _try(path)
    if finding.seen != "refused" or finding.evidence["status"] != 403:
        return finding
    # A far end that checks the Origin compares it with the Host that arrives.
    path.known.origin = False
    second = _try(path)
    if second.verdict is not Verdict.FAIL:
        return warn("origin", **finding.evidence)
    path.known.origin = True
    return second


def _try(path: WebPath) -> Finding:
    with path.websocket() as socket:
        opened = socket.pump(lambda: socket.open, path.patience)
        if not opened:
            if socket.status:
                return fail("refused", status=socket.status)
            return fail("no-response", how=socket.end)
        answered = socket.echo(path.patience)
        if answered is None:
            return fail("no-echo", how=socket.end)
        extensions = ", ".join(each.name for each in socket.frames.extensions)
        found: dict[str, Evidence] = {
            "subprotocol": str(socket.frames.subprotocol or "-"),
            "extensions": extensions or "-",
            "echo_s": answered,
        }
    if path.known.meari and found["subprotocol"] != "echo":
        return fail("no-subprotocol", **found)
    if path.known.meari and not extensions:
        return warn("no-compression", **found)
    return ok("ok", **found)
