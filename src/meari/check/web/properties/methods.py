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
        body = None if method in ("DELETE", "OPTIONS") else b"body"
        try:
            response = path.get("report", method, body=body)
        except Malformed:
            return fail("malformed", method=method)
        report = response.report()
        if report is None:
            refused.append(f"{method} ({response.status or response.end})")
        elif report["method"] != method:
            changed.append(f"{method} → {report['method']}")
    found: dict[str, Evidence] = {"refused": refused, "refused_list": ", ".join(refused) or "-"}
    if changed:
        return fail("changed", changed_list=", ".join(changed))
    return warn("refused", **found) if refused else ok("ok", tried=len(_METHODS))
