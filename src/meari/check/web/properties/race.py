"""The keep-alive race: the far end closes a connection just as the next request on it arrives.

A middlebox that reuses connections sees this now and then. It may send the request again on a
fresh connection, which is safe for GET and not for POST (RFC 9110, 9.2.2), or answer 502. Here the
far end does it on purpose: a request of /once makes it end that connection, by FIN or by a reset,
when the next request arrives, without an answer. It is tried until it has happened, since a
middlebox may use another connection.
"""

from __future__ import annotations

import time

from ...finding import Evidence, Finding, fail, ok, unknown, warn
from ..path import WebPath

# A pool may have many connections: as many tries as fit into so many seconds.
_SECONDS, _SECONDS_QUICKLY = 4.0, 1.5
_MOST = 400
_REUSES = 8  # tries to see one connection carry a second request
_WAYS = [("GET", "fin"), ("GET", "rst"), ("POST", "fin"), ("POST", "rst")]


def check(path: WebPath) -> Finding:
    if not path.known.between:
        return ok("direct")
    retried: list[str] = []
    failed: list[str] = []
    closed: list[str] = []
    if not _reused(path):
        return ok("not-reused")
    for n, (method, how) in enumerate(_WAYS):
        seen = _try(path, method, how, f"{path.known.run:08x}-{n}")
        if seen == "":
            continue
        {"retried": retried, "closed": closed}.get(seen, failed).append(
            f"{method} after {how.upper()}" + ("" if seen in ("retried", "closed") else f": {seen}")
        )
    found: dict[str, Evidence] = {
        "retried": ", ".join(retried) or "-",
        "failed": ", ".join(failed),
        "closed": ", ".join(closed),
        "get_failed": sum(each.startswith("GET") for each in failed + closed),
    }
    if found["get_failed"]:
        return fail("closed" if not failed else "failed", **found)
    if failed or closed:
        return warn("post-failed", **found | {"failed": ", ".join(failed + closed)})
    if any(each.startswith("POST") for each in retried):
        return warn("repeats-post", **found)
    return ok("retried", **found) if retried else unknown("never")


def _reused(path: WebPath) -> bool:
    """True if the middlebox sends a second request on a connection that has carried one."""
    for _ in range(_REUSES):
        with path.open() as client:
            for _ in range(3):
                client.send(path.request("report"))
                response = client.receive()
                report = response.report() or {}
                if int(report.get("request", 0)) > 1:
                    return True
                if not response.kept:
                    break
    return False


def _try(path: WebPath, method: str, how: str, mark: str) -> str:
    """What became of a request that met the end: "retried", "closed", a status; "" if none did."""
    until = time.monotonic() + (_SECONDS_QUICKLY if path.plan.quick else _SECONDS)
    for n in range(_MOST):
        if time.monotonic() > until:
            break
        with path.open() as client:
            client.send(path.request(f"once?how={how}&mark={mark}-{n}"))
            armed = client.receive()
            if armed.status != 200:
                return str(armed.status)
            if not armed.kept:
                continue
            body = b"meari" if method == "POST" else None
            client.send(path.request("report", method, body=body))
            response = client.receive()
            if not response.headed:
                return "closed"
            report = response.report()
            if response.status != 200 or report is None:
                return str(response.status)
            # Only the far end knows whether the request had met the end before, or whether it came
            # on another connection.
            if any(str(met).startswith(f"{mark}-") for met in report.get("met", [])):
                return "retried"
    return ""
