"""The largest body that passes, by bisection, and the response beyond it (413, RFC 9110,
15.5.14).
"""

from __future__ import annotations

from ...finding import Finding, fail, ok, unknown, warn
from ..client import Response
from ..path import WebPath

_FIRST = 512 << 10
_MOST, _MOST_QUICKLY = 64 << 20, 4 << 20
_NEAR = 0.02  # of the size: the bisection ends


def check(path: WebPath) -> Finding:
    most = path.amount(_MOST_QUICKLY if path.plan.quick else _MOST, 2.0)
    passed, refused, answer = 0, 0, None
    size = _FIRST
    while True:
        response = _try(path, size)
        report = response.report()
        if report is not None and report["body"]["bytes"] != size:
            return fail("cut", size=size, arrived=report["body"]["bytes"])
        if report is not None:
            passed = size
        elif response.status >= 500 or not response.headed:
            return fail(
                "failed", size=size, passed=passed, status=response.status, how=response.end
            )
        else:
            refused, answer = size, response
        if refused and refused - passed <= max(1024, refused * _NEAR):
            break
        if not refused and passed >= most:
            return ok("ok", passed=passed)
        size = (passed + refused) // 2 if refused else min(2 * passed, most)
        if path.spent > (5 if path.plan.quick else 60):
            return unknown("unfinished-size", passed=passed, refused=refused)
    assert answer is not None
    if answer.status == 413:
        return warn("limit", passed=passed, refused=refused, status=answer.status)
    return fail("limit-other", passed=passed, refused=refused, status=answer.status)


def _try(path: WebPath, size: int) -> Response:
    with path.open() as client:
        client.send(path.request("report", "POST", body=bytes(size)))
        return client.receive()
