"""Every address of the name accepts: each is tried, with its time or the reason of its failure (RFC
6724, RFC 8305).
"""

from __future__ import annotations

import errno
import os
import socket

from ...errors import ConnectError
from ...net import Endpoint, connect
from ...units import duration
from ..finding import Evidence, Finding, fail, ok, warn
from ..path import Path

# Missing on this machine: a route, or an address of that family (connect(2), ip(7)).
_NO_ROUTE = tuple(
    os.strerror(number) for number in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
)

_RESET = os.strerror(errno.ECONNRESET)


def check(path: Path) -> Finding:
    answering: list[Endpoint] = []
    each: list[str] = []
    reasons: list[str] = []
    # Addresses to which this machine has no route, or for which it has no address.
    unrouted: list[str] = []
    for target in path.targets:
        try:
            sock, _, nanoseconds = connect([target], path.patience, path.stop)
        except ConnectError as error:
            each += error.reasons
            # The handshake was complete before: other properties judge that.
            if all(_RESET in reason for reason in error.reasons):
                answering.append(target)
            elif any(word in reason for reason in error.reasons for word in _NO_ROUTE):
                unrouted += error.reasons
            else:
                reasons += error.reasons
        else:
            sock.close()
            answering.append(target)
            each.append(f"{target.address} {duration(nanoseconds / 1e9)}")
    reported = "; ".join(each)
    if not answering:
        return fail("none", each=each, reasons="; ".join(each))
    found: dict[str, Evidence] = {
        "each": each,
        "answers": reported,
        "number": len(each),
        "refused": len(reasons),
    }
    # An address that cannot be tried from here says nothing about the far end.
    families = {target.family for target in answering}
    apart = families.isdisjoint(target.family for target in path.targets if target not in answering)
    path.targets[:] = answering  # do not try the others again
    if not reasons and unrouted:
        return ok("no-route", **found, unrouted=len(unrouted))
    if not reasons:
        return ok("ok" if len(each) > 1 else "one", **found)
    if path.spawned is not None and len(families) == 1:
        return warn("ipv4-alone" if socket.AF_INET in families else "ipv6-alone", **found)
    return warn("one-family" if apart else "some", **found)
