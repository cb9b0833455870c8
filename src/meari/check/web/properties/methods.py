"""Methods other than GET and POST pass (RFC 9110, 9; RFC 5789; RFC 4918)."""

from __future__ import annotations

from ...finding import Evidence, Finding, fail, ok, warn
from ..client import Malformed
from ..path import WebPath

_METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")


def check(path: WebPath) -> Finding:
    refused: list[str] = []
    changed: list[str] = []
    for method in _METHODS:
        path.gently()
        body = None if method in ("DELETE", "OPTIONS") else b"body"
        try:
            response = path.get("report", method, body=body)
        except Malformed:
            return fail("malformed", method=method)
        if not response.headed:
            refused.append(f"{method} ({response.end})")
        elif response.status in (400, 403, 405, 501):
            refused.append(f"{method} ({response.status})")
        elif path.known.meari and (report := response.json()) is not None:
            if report.get("method") != method:
                changed.append(f"{method} → {report.get('method')}")
        elif path.known.meari:
            changed.append(f"{method}: {response.status}")
    found: dict[str, Evidence] = {"refused": refused, "refused_list": ", ".join(refused) or "-"}
    if not path.known.meari:
        return ok("stranger", **found, tried=len(_METHODS))
    if changed:
        return fail("changed", changed_list=", ".join(changed))
    return warn("refused", **found) if refused else ok("ok", tried=len(_METHODS))
