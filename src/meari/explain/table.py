"""The kernel's table of sockets, as far as a scene shows it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from .. import sock_diag
from .row import Entry

# States with an unacknowledged FIN, which the table counts as an unacknowledged byte.
WITH_FIN = frozenset({"FIN_WAIT1", "LAST_ACK", "CLOSING"})


def table(port: int) -> Iterator[Entry]:
    """Every socket whose own or whose peer's port is *port*.

    Raises OSError if the kernel has no such table.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            yield from (
                Entry(
                    _name(each.family, each.local, each.local_port),
                    _name(each.family, each.remote, each.remote_port),
                    each.state,
                    each.unsent,
                    each.unread,
                    each.inode,
                )
                for each in sock_diag.sockets(family)
                if port in (each.local_port, each.remote_port)
            )
        except OSError:
            # A kernel may lack IPv6.
            if family == socket.AF_INET:
                raise


def _name(family: int, address: bytes, port: int) -> str:
    host = socket.inet_ntop(family, address)
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
