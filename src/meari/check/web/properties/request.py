"""An ordinary request arrives and is answered (RFC 9110). Who answers, and what is in between?

Three requests, each on a connection of its own. Their times are what later properties derive their
limits from. If the far end's peer is our own end of the connection, nothing in between ends it.
"""

from __future__ import annotations

import os
import statistics
import typing

from ....sockets import of_sockaddr
from ...finding import Evidence, Finding, fail, ok
from ...path import Baseline
from ..client import Malformed
from ..path import WebPath

_TIMES = 3
# Headers that only something between the two ends adds to a request.
_ADDED = ("via", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded", "x-request-id")


def check(path: WebPath) -> Finding:
    took: list[float] = []
    for _ in range(_TIMES):
        path.gently()
        with path.open() as client:
            ours = client.channel.sock.getsockname()
            client.send(path.request("report"))
            try:
                # What does not end, as a stream of events, has answered.
                response = client.head()
                if response.value("content-type").startswith("application/json"):
                    response = client.receive()
            except Malformed as error:
                return fail("malformed", how=str(error))
            if not response.headed:
                return fail("no-response", how=response.end, after=len(took))
            took.append(response.headed - client.asked)
    least, worst = min(took), max(took)
    path.known.base = Baseline(least, least, statistics.median(took), worst)
    server, via = response.value("server"), response.value("via")
    found: dict[str, Evidence] = {
        "status": response.status,
        "server": server or "-",
        "via": via or "-",
        "least_s": least,
        "worst_s": worst,
    }
    report = response.report()
    if report is None or "request_line" not in report or "instance" not in report:
        if response.status >= 500:
            return fail("error", **found)
        return ok("stranger", **found)
    path.known.meari = True
    names = [str(name).lower() for name, _ in report["headers"]]
    added = [name for name in names if name in _ADDED]
    path.known.between = not _is_ours(report, ours)
    found |= {"added": ", ".join(added) or "-", "arrived_as": str(report["request_line"])}
    return ok("between" if path.known.between else "direct", **found)


def _is_ours(report: dict[str, typing.Any], ours: typing.Any) -> bool:
    """True if the far end's connection is our own: it has the same address and port."""
    peer = report.get("peer", {})
    if report.get("proxy"):
        return False
    if not isinstance(ours, tuple):  # a Unix socket's
        return bool(peer.get("pid") == os.getpid())
    found = of_sockaddr(ours)
    return (peer.get("address"), peer.get("port")) == (found.host, found.port)
