"""The largest block of headers that passes, and the response beyond it (431, RFC 6585, 5).

Cookies and tokens make several kilobytes.
"""

from __future__ import annotations

from ...finding import Evidence, Finding, fail, ok, warn
from ..client import Response
from ..path import WebPath

_ONE = 1024  # bytes of a header line
_MOST = 48  # headers: below the limits of the far end itself
_FEW = 8 * _ONE  # bytes: less than this is little


def check(path: WebPath) -> Finding:
    passed, refused = 0, _MOST + 1
    answer: Response | None = None
    tried = _MOST
    while refused - passed > 1:
        response = _try(path, tried)
        report = response.report()
        if report is not None:
            arrived = sum(str(name).lower().startswith("x-meari-") for name, _ in report["headers"])
            if arrived < tried:
                return fail("lost", sent=tried, arrived=arrived)
            passed = tried
        else:
            refused, answer = tried, response
        tried = (passed + refused) // 2
    if answer is None:
        return ok("ok", passed=passed * _ONE)
    found: dict[str, Evidence] = {
        "passed": passed * _ONE,
        "refused": refused * _ONE,
        "how": f"status {answer.status}" if answer.status else answer.end,
    }
    return fail("little", **found) if passed * _ONE < _FEW else warn("limit", **found)


def _try(path: WebPath, n: int) -> Response:
    value = "x" * (_ONE - len("X-Meari-00: \r\n"))
    return path.get("report", headers=[(f"X-Meari-{i:02d}", value) for i in range(n)])
