"""Every address of the name answers: each is tried, with the time it took or the reason why not (RFC 6724, RFC 8305)."""

from __future__ import annotations

import socket

from ...errors import ConnectError
from ...net import of_sockaddr
from ...reach import connect
from ..finding import Evidence, Finding, fail, ok, warn
from ..path import Path


def check(path: Path) -> Finding:
    there: list[str] = []
    reasons: list[str] = []
    answering = []
    took = []
    for target in path.targets:
        try:
            sock, _, nanoseconds = connect([target], path.patience, path.stop)
        except ConnectError as error:
            reasons += error.reasons
        else:
            sock.close()
            there.append(str(of_sockaddr(target[3])))
            took.append(nanoseconds / 1e9)
            answering.append(target)
    if not answering:
        return fail("none", reasons="; ".join(reasons))
    found: dict[str, Evidence] = {
        "addresses": there,
        "first": there[0],
        "least_s": min(took),
        "most_s": max(took),
        "number": len(there) + len(reasons),
        "refused": len(reasons),
        "reasons": "; ".join(reasons),
    }
    families = {target[0] for target in answering}
    apart = families.isdisjoint(target[0] for target in path.targets if target not in answering)
    path.targets[:] = answering  # the others are not tried again
    if not reasons:
        return ok("ok" if len(there) > 1 else "one", **found)
    if path.spawned is not None and len(families) == 1:
        return warn("ipv4-alone" if socket.AF_INET in families else "ipv6-alone", **found)
    return warn("one-family" if apart else "some", **found)
