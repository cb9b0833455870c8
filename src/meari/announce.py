"""The PROXY header that a near end sends first (--send-proxy), as a proxy would."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from .address import Address
from .wire.proxy_header import header

VERSIONS = {"v1": 1, "v2": 2}


def announcing(version: str) -> Callable[[socket.socket], None]:
    """Sends the header of that version on a connected socket: from its own address to the peer's.

    The header is shorter than any empty send buffer, so nothing waits. If the connection has failed
    meanwhile, the next read says why.
    """

    def announce(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.send(header(VERSIONS[version], _end(sock.getsockname()), _end(sock.getpeername())))

    return announce


def _end(sockaddr: object) -> Address | None:
    """An address of TCP; None of a Unix socket."""
    if not isinstance(sockaddr, tuple):
        return None
    host, port = sockaddr[:2]
    return Address(str(host).partition("%")[0], int(port))
