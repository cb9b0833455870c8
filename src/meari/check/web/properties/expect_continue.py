"""A client that sends `Expect: 100-continue` gets a 100, or a refusal, before it sends the body
(RFC 9110, 10.1.1).

A client waits a second or so for the answer (curl does), and then sends the body without it.
"""

from __future__ import annotations

from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_WAITS = 1.0  # seconds
_BODY = b"x" * 2000


def check(path: WebPath) -> Finding:
    headers = [("Expect", "100-continue"), ("Content-Length", str(len(_BODY)))]
    with path.open() as client:
        client.send(path.request("report", "POST", headers))
        asked = client.asked
        early = client.listen(_WAITS + path.margin)
        if early is not None:
            return fail("refused", status=early.status, how=early.end)
        continued = client.continued
        client.send(_BODY)
        response = client.receive()
    report = response.report()
    if report is None or report["body"]["bytes"] != len(_BODY):
        return fail("lost", status=response.status, how=response.end)
    passed = any(str(name).lower() == "expect" for name, _ in report["headers"])
    if continued is None:
        return warn("none", waited_s=_WAITS, passed=str(passed))
    return ok("passed" if passed else "nearer", after_s=continued - asked)
