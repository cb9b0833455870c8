"""The PROXY protocol, versions 1 and 2: a proxy says first whose connection it carries. No I/O.

The specification is HAProxy's doc/proxy-protocol.txt. A header of version 1 is a line of text:

    PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\\r\\n

One of version 2 is binary: a signature of 12 bytes, version and command, family, length, addresses,
and then values with a type and a length (TLV).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from ..address import Address
from ..errors import MeariError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LINE = 107  # bytes of a header of version 1, at most
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_CRC32C = 0x03  # the type of a value
_MOST = 4096  # bytes of a header of version 2, which a proxy keeps below that
_POLYNOMIAL = 0x82F63B78  # CRC-32C (RFC 9260, appendix A), reflected


class ProxyHeaderError(MeariError):
    """The received bytes are no valid header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A parsed header. *source* and *destination* are None if the connection is the proxy's
    own (LOCAL), or of another kind than TCP.
    """

    version: int
    source: Address | None = None
    destination: Address | None = None
    values: tuple[tuple[int, bytes], ...] = ()


def parse(data: bytes) -> tuple[Announced, int] | None:
    """The header at the beginning of *data* and its length; None if more is needed.

    Raises ProxyHeaderError.
    """
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return None
    if not b"PROXY ".startswith(data[:6]):
        raise ProxyHeaderError("no PROXY header came first")
    end = data.find(b"\r\n", 0, _LINE)
    if end < 0:
        if len(data) >= _LINE:
            raise ProxyHeaderError("the PROXY header does not end")
        return None
    return _version_1(data[:end].decode("latin-1")), end + 2


def _version_1(line: str) -> Announced:
    words = line.split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return Announced(1)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyHeaderError("the PROXY header is malformed")
    kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
    ends = []
    for host, port in ((words[2], words[4]), (words[3], words[5])):
        # "080" is no port: two programs could read it differently.
        if not (port.isascii() and port.isdigit() and str(int(port[:6])) == port):
            raise ProxyHeaderError("the PROXY header has no valid port")
        if int(port) > 65535:
            raise ProxyHeaderError("the PROXY header has no valid port")
        try:
            if "%" in host:  # a zone, which may have any text
                raise ValueError
            ends.append(Address(str(kind(host)), int(port)))
        except ValueError:
            raise ProxyHeaderError("the PROXY header has no valid address") from None
    return Announced(1, ends[0], ends[1])


def _version_2(data: bytes) -> tuple[Announced, int] | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("the PROXY header has another version or command")
    if 16 + length > _MOST:
        raise ProxyHeaderError("the PROXY header is too long")
    if len(data) < 16 + length:
        return None
    header = data[: 16 + length]
    ends: list[Address] = []
    size = {_TCP4: 4, _TCP6: 16}.get(family, 0)
    skip = 2 * size + 4 if size else 216 if family >> 4 == 3 else 0
    if length < skip:
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    if size:
        ports = struct.unpack_from("!HH", header, 16 + 2 * size)
        for at, port in ((16, ports[0]), (16 + size, ports[1])):
            ends.append(Address(str(ipaddress.ip_address(header[at : at + size])), port))
    # The address length of an unknown family is unknown, so its values cannot be found.
    values = _values(header, 16 + skip) if family in (_TCP4, _TCP6) or skip else ()
    if command == _LOCAL or not ends:
        return Announced(2, values=values), 16 + length
    return Announced(2, ends[0], ends[1], values), 16 + length


def _values(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    found = []
    while at < len(header):
        if len(header) < at + 3:
            raise ProxyHeaderError("the PROXY header ends within a value")
        kind, n = struct.unpack_from("!BH", header, at)
        at += 3
        if len(header) < at + n:
            raise ProxyHeaderError("the PROXY header ends within a value")
        found.append((kind, header[at : at + n]))
        if kind == _CRC32C:
            bare = header[:at] + bytes(n) + header[at + n :]
            if n != 4 or crc32c(bare) != int.from_bytes(header[at : at + n], "big"):
                raise ProxyHeaderError("the PROXY header's checksum is wrong")
        at += n
    return tuple(found)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
