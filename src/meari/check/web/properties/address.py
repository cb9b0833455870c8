"""The far end learns the client's address: as its peer, or by X-Forwarded-For, Forwarded
(RFC 7239) or the PROXY protocol. Can a client forge it?
"""

from __future__ import annotations

import typing

from ....sockets import of_sockaddr
from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_FORGED = "203.0.113.77"  # of TEST-NET-3: nobody's


def check(path: WebPath) -> Finding:
    with path.open() as client:
        ours = str(of_sockaddr(client.channel.sock.getsockname()).host) or "unix"
        client.send(path.request("report"))
        report = client.receive().report() or {}
    way, learnt = _learnt(report)
    forged = path.get(
        "report",
        headers=[("X-Forwarded-For", _FORGED), ("Forwarded", f"for={_FORGED}")],
    ).report()
    announced = (forged or {}).get("announced", {})
    passed = [
        name
        for name in ("x-forwarded-for", "forwarded", "x-real-ip")
        if any(str(value).split(",")[0].strip().endswith(_FORGED) for value in announced[name])
    ]
    if not path.known.between:
        return ok("direct", ours=ours)
    if learnt is None:
        return fail("not-learnt", ours=ours, peer=str(report.get("peer", {}).get("address")))
    if not path.unix and ours not in learnt:
        return warn("another", way=way, learnt=learnt, ours=ours)
    if passed:
        return warn("forged", way=way, learnt=learnt, names=", ".join(passed))
    return ok("ok", way=way, learnt=learnt)


def _learnt(report: dict[str, typing.Any]) -> tuple[str, str | None]:
    """The way in which the far end learns an address, and that address."""
    announced = report.get("announced", {})
    if report.get("proxy"):
        return "PROXY", str(report.get("peer", {}).get("address"))
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
        if values := announced.get(name):
            return name, str(values[0])
    return "", None
