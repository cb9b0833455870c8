"""The first request of a load of GET requests: what the responses are held to."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import replace

from ..channel import open_channel, reason
from ..errors import ConnectError
from ..http_layers import HttpLayers
from ..net import Endpoint
from ..stop import milliseconds
from ..wire.http_get import Expected


def probe(targets: Sequence[Endpoint], timeout: float) -> tuple[list[Endpoint], int, bool]:
    """Send one GET request to the first of *targets* that answers, whose layers are HttpLayers.

    Returns the targets for GET requests, whose responses are held to this one's status and length;
    that length; and whether the server keeps the connection. Raises ConnectError, if there is no
    connection, or no response within *timeout* seconds whose status is a success.
    """
    expected = Expected()
    end = time.monotonic() + timeout
    found = [
        replace(target, layer=replace(target.layer, get=expected))
        for target in targets
        if isinstance(target.layer, HttpLayers)
    ]
    opened = open_channel(found, timeout)
    why = f"no response within {timeout:.3g} s"
    with opened.channel as channel:
        channel.write(b"?")
        while expected.status is None and (left := end - time.monotonic()) > 0:
            poller = select.poll()
            poller.register(channel, channel.mask(reading=True, writing=False))
            poller.poll(milliseconds(left))
            channel.flush()
            channel.read()
            if channel.end is not None and expected.status is None:
                why = reason(channel.end)
                break
        kept = channel.layer is not None and not channel.layer.ended
    if expected.status is None:
        where = str(opened.endpoint.address)
        raise ConnectError(f"GET from {where}: {why}", (why,))
    return found, expected.length, kept
