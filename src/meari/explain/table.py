"""The kernel's table of TCP sockets, read as ss(8) does (sock_diag(7)).

It has both ends of a connection on this machine, and also sockets without a descriptor: those not
accepted yet, and those closed already (TIME_WAIT).

/proc/net/tcp has the same content, but reading it takes 17 times as long: 3.3 ms instead of 0.19,
on a machine whose hash table has 500,000 slots.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from .row import Entry

# <net/tcp_states.h>, the names of RFC 9293; 12 is an incomplete handshake, for
# which tcp(7) has the same name.
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSED",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}
# States with an unacknowledged FIN, which the table counts as an unacknowledged byte.
WITH_FIN = frozenset({"FIN_WAIT1", "LAST_ACK", "CLOSING"})
_SOCK_DIAG, _BY_FAMILY, _DONE, _ERROR = 4, 20, 3, 2  # <linux/netlink.h>, <linux/sock_diag.h>
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
# Struct inet_diag_req_v2: family, protocol, 0, 0, states, any socket.
_ASKED = struct.Struct("=BBBBI48s")
_ENTRY = struct.Struct("=BBBB2s2s16s16s12sIIIII")  # struct inet_diag_msg


def table(port: int) -> Iterator[Entry]:
    """Every socket whose own or whose peer's port is *port*.

    Raises OSError if the kernel has no such table.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from _of_family(family, port.to_bytes(2, "big"))


def _of_family(family: int, port: bytes) -> Iterator[Entry]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF, bytes(48))
        asking.send(
            _HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + asked
        )
        while True:
            data = asking.recv(1 << 16)
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind == _ERROR and family == socket.AF_INET:
                    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
                if kind in (_DONE, _ERROR):  # a kernel may lack IPv6
                    return
                _, state, _, _, local, remote, source, target, _, _, unread, unsent, _, inode = (
                    _ENTRY.unpack_from(data, _HEADER.size)
                )
                if port in (local, remote):
                    yield Entry(
                        _name(family, source, local),
                        _name(family, target, remote),
                        STATES[state],
                        unsent,
                        unread,
                        inode,
                    )
                data = data[(length + 3) & ~3 :]


def _name(family: int, address: bytes, port: bytes) -> str:
    number = int.from_bytes(port, "big")
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(family, address[:4])}:{number}"
    return f"[{socket.inet_ntop(family, address)}]:{number}"
