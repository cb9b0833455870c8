"""Every address of the name answers: each is tried, with the time it took or the reason why not (RFC 6724, RFC 8305)."""

from __future__ import annotations

import socket

from ...errors import ConnectError
from ...net import of_sockaddr
from ...reach import Target, connect
from ..finding import Evidence, Finding, fail, ok, warn
from ..path import Path


def check(path: Path) -> Finding:
    answering: list[Target] = []
    each: list[str] = []
    reasons: list[str] = []
    for target in path.targets:
        try:
            sock, _, nanoseconds = connect([target], path.patience, path.stop)
        except ConnectError as error:
            reasons += error.reasons
            each += error.reasons
        else:
            sock.close()
            answering.append(target)
            each.append(f"{of_sockaddr(target[3])} {nanoseconds / 1000:,.0f} us")
    told = "; ".join(each)
    if not answering:
        return fail("none", each=each, reasons="; ".join(reasons))
    found: dict[str, Evidence] = {"each": each, "told": told, "number": len(each), "refused": len(reasons)}
    families = {target[0] for target in answering}
    apart = families.isdisjoint(target[0] for target in path.targets if target not in answering)
    path.targets[:] = answering  # the others are not tried again
    if not reasons:
        return ok("ok" if len(each) > 1 else "one", **found)
    if path.spawned is not None and len(families) == 1:
        return warn("ipv4-alone" if socket.AF_INET in families else "ipv6-alone", **found)
    return warn("one-family" if apart else "some", **found)
