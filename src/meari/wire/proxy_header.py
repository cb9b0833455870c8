"""Headers of the PROXY protocol, to be sent (proxy_protocol.py parses them). No I/O."""

from __future__ import annotations

import ipaddress
import struct

from ..address import Address
from .proxy_protocol import SIGNATURE


def header(version: int, source: Address | None, destination: Address | None) -> bytes:
    """The header of a connection from *source* to *destination*, both of TCP and of one family.

    None of them: a connection of another kind, whose addresses are not announced.
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else SIGNATURE + b"\x21\0\0\0"
    ends = [ipaddress.ip_address(end.host or "") for end in (source, destination)]
    family = ends[0].version
    if version == 1:
        words = f"PROXY TCP{family} {ends[0]} {ends[1]} {source.port} {destination.port}\r\n"
        return words.encode("ascii")
    addresses = ends[0].packed + ends[1].packed
    addresses += struct.pack("!HH", source.port, destination.port)
    kind = 0x11 if family == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", 0x21, kind, len(addresses)) + addresses
