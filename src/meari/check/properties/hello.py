"""A ClientHello arrives, also if it is larger than a segment, or sent in two of them.

A ClientHello with a post-quantum key share (X25519MLKEM768: 1,216 bytes) does not fit into one
segment. A middlebox that looks for the server's name in the first segment drops it, or waits for
ever. A long ALPN list makes one of that size (RFC 7301). RFC 8446, 5.1 permits both.

A failure counts only if it repeats, and an ordinary handshake succeeds in between.
"""

from __future__ import annotations

import ssl
import time
import typing

from ...channel import Channel, open_channel, shake_hands
from ...errors import ConnectError
from ...net import connect
from ..finding import Evidence, Finding, fail, ok, unknown
from ..path import Path

if typing.TYPE_CHECKING:
    from ...wire.tls import Tls

# Together more than two segments of an Ethernet, and less than servers refuse.
_NAMES = tuple(f"{n:02}".ljust(250, "x") for n in range(12))
# Seconds between two parts: longer than a segment waits to be joined with the next.
_APART = 0.1


def check(path: Path) -> Finding:
    sizes = {"large": 0, "split": 0}
    failed: dict[str, str] = {}
    for kind in sizes:
        sizes[kind], reason = _try(path, kind)
        if not reason:
            continue
        try:
            open_channel(path.targets, path.connecting, path.stop).channel.close()
        except ConnectError as error:
            return unknown("ordinary", reason="; ".join(error.reasons))
        if again := _try(path, kind)[1]:
            failed[kind] = again
    found: dict[str, Evidence] = {"large_bytes": sizes["large"], "split_bytes": sizes["split"]}
    if not failed:
        return ok("ok", **found)
    found["reason"] = "; ".join(dict.fromkeys(failed.values()))
    if len(failed) == 2:
        return fail("both", **found)
    return fail("large" if "large" in failed else "split", **found)


def _try(path: Path, kind: str) -> tuple[int, str]:
    """The size of a ClientHello of *kind*, and why its handshake failed; "" if it did not."""
    make = path.targets[0].layer
    assert make is not None
    layer = typing.cast("Tls", make())
    if kind == "large":
        layer = layer.offering(_NAMES)
    hello = layer.take()
    first = len(hello) // 2 if kind == "split" else len(hello)
    try:
        sock, _, _ = connect(path.targets, path.connecting, path.stop)
    except ConnectError as error:
        return len(hello), "; ".join(error.reasons)
    with Channel(sock) as channel:
        # A new connection's send buffer holds more than a ClientHello.
        channel.write(hello[:first])
        if first < len(hello):
            path.wait(_APART)
            channel.write(hello[first:])
        channel.layer = layer
        try:
            return len(hello), shake_hands(channel, time.monotonic() + path.connecting, path.stop)
        except ssl.SSLError as error:
            return len(hello), str(error)
