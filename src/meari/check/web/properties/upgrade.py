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
    target = f"{path.prefix}/ws"
    with path.websocket() as socket:
        if not socket.pump(lambda: socket.open, path.patience):
            if socket.status == 404:
                return fail("not-found", status=socket.status, target=target)
            if socket.status not in (0, 101):
                return fail("refused", status=socket.status, target=target)
            return fail("no-response", how=socket.end)
        extensions = ", ".join(each.name for each in socket.frames.extensions)
        found: dict[str, Evidence] = {
            "subprotocol": str(socket.frames.subprotocol or "-"),
            "extensions": extensions or "-",
        }
        if not path.known.meari:
            return ok("stranger", **found, target=target)
        answered = socket.echo(path.patience)
        if answered is None:
            return fail("no-echo", how=socket.end)
    found["echo_s"] = answered
    if found["subprotocol"] != "echo":
        return fail("no-subprotocol", **found)
    return ok("ok", **found) if extensions else warn("no-compression", **found)
