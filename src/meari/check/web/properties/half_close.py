"""A client that ends its direction after its request still gets the response (RFC 9112, 9.6).

Few clients do, and most proxies take it for the client's departure: a warning.
"""

from __future__ import annotations

from ...finding import Finding, ok, warn
from ..path import WebPath

_LATER = 0.4  # seconds: the FIN arrives well before the response


def check(path: WebPath) -> Finding:
    with path.open() as client:
        client.patience += _LATER
        client.send(path.request(f"delay/{_LATER}", headers=[("Connection", "close")]))
        client.half_close()
        response = client.receive()
    if response.status == 200 and response.whole and response.body.startswith(b"after "):
        return ok("ok", after_s=response.headed - client.asked)
    if not response.headed:
        return warn("lost", how=response.end)
    return warn("other", status=response.status)
