"""Helpers for any socket: readiness, pending output, resets, addresses, TCP_INFO."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import struct
import termios
import typing
from dataclasses import dataclass

from . import sock_diag
from .address import Address
from .errors import LocalError

_UCRED = struct.Struct("3i")  # struct ucred of <sys/socket.h>: process, user and group id

# struct tcp_info: bytes, 32-bit numbers, some of 64 bits, and 32-bit ones again, as far as the
# window. Newer kernels add to its end; what an older one does not fill in is 0.
_LAYOUT = struct.Struct("8B24I4Q6I4Q2I2Q4I")


def unsent(sock: socket.socket) -> int:
    """Return how many bytes were written that the peer's kernel has not acknowledged (tcp(7),
    SIOCOUTQ).

    A FIN counts as one. On a Unix socket these are the bytes that the peer has not read. Raises
    OSError.
    """
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])


def waits(sock: socket.socket) -> bool:
    """True if something can be read: data, the end of file or an error."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def reset(sock: socket.socket) -> None:
    """Close with a reset instead of an end of file: SO_LINGER of 0 seconds (socket(7)); nothing if
    it is closed.

    A Unix socket has no reset: its peer reads an end of file, or ECONNRESET if bytes were left
    unread.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def no_delay(sock: socket.socket) -> None:
    """Send each write at once: Nagle's algorithm would hold an echo's last segment for the peer's
    delayed ACK.
    """
    # A connection that is already gone; or a Unix socket, which delays nothing.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def to_itself(sock: socket.socket) -> bool:
    """True if both ends have one name: TCP has connected to itself (a simultaneous open, RFC 9293,
    3.5).

    The kernel picked the very port that is called for our end. That echoes perfectly, and nobody is
    there.
    """
    if sock.family == socket.AF_UNIX:  # where most sockets have no name
        return False
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # reset already: the next read says so
        return False


def of_sockaddr(sockaddr: typing.Any) -> Address:
    """Return the Address of a sockaddr: (host, port, ...) of IPv4 and IPv6, or the name of a Unix
    socket (unix(7)).

    A link-local address keeps its scope, as in fe80::1%eth0, without which nobody reaches it
    (ipv6(7)).
    """
    if isinstance(sockaddr, str | bytes):
        name = os.fsdecode(sockaddr)
        return Address(f"@{name[1:]}" if name.startswith("\0") else name, 0, "unix")
    host, port = sockaddr[:2]
    if len(sockaddr) > 3 and sockaddr[3] and "%" not in host:
        with contextlib.suppress(OSError):  # the interface is gone
            return Address(f"{host}%{socket.if_indextoname(sockaddr[3])}", port)
        return Address(f"{host}%{sockaddr[3]}", port)
    return Address(host, port)


def peer_of(sock: socket.socket, sockaddr: typing.Any) -> Address:
    """Return the Address of an accepted peer; of a Unix socket that is its user and process
    (SO_PEERCRED, unix(7)).
    """
    if sock.family != socket.AF_UNIX:
        return of_sockaddr(sockaddr)
    process, user, _ = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return Address(f"uid {user}", process, "unix")


def free_port(preferred: int | None = None) -> int:
    """A port that nothing is bound to, not even a connection in TIME_WAIT: *preferred*, or else a
    random one.

    It is below the ports that the kernel gives to clients (ip_local_port_range, ip(7)): no client
    of this machine takes it meanwhile, and no client connects to itself. Raises LocalError.
    """
    for port in (
        *([] if preferred is None else [preferred]),
        *random.sample(range(10_000, 30_000), 50),
    ):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET) as four:
            four.bind(("", port))
            if _free_in_ipv6(port):
                return port
    raise LocalError("no port is free on this machine")


def _free_in_ipv6(port: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6) as six:
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            six.bind(("", port))
        return True
    except OSError as error:
        return error.errno != errno.EADDRINUSE


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Times in seconds, as the kernel estimates them; sizes in bytes; the rest in segments."""

    state: int  # as in <netinet/tcp.h>: 1 is ESTABLISHED
    # How often the first that is not acknowledged was sent again without an answer.
    retransmitting: int
    send_mss: int
    unacked: int  # of a listener: how many connections wait to be accepted
    sacked: int  # of a listener: how many may
    round_trip: float  # smoothed
    retransmitted: int  # in all
    least_round_trip: float  # 0 if it is not known
    data_sent: int  # those that carry data, with those that were sent again
    # DSACKs: segments that we sent again though they had arrived (RFC 2883); 0 before Linux 4.19.
    duplicates: int
    reorderings: int  # times that an acknowledgement showed segments of ours to arrive out of order
    out_of_order: int  # segments that arrived here before one that precedes them
    quiet: float  # since the peer's kernel was last heard of: data or an acknowledgement
    send_window: int  # how much the peer takes now; 0 before Linux 5.4


def tcp_info(sock: socket.socket) -> TcpInfo:
    """Raises OSError."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size).ljust(
        _LAYOUT.size, b"\0"
    )
    fields = _LAYOUT.unpack(raw)
    small, numbers, later = fields[:8], fields[8:32], fields[36:42]
    duplicates, reorderings, out_of_order, window = fields[-4:]
    least = later[3]
    return TcpInfo(
        state=small[0],
        retransmitting=small[2],
        send_mss=numbers[2],
        unacked=numbers[4],
        sacked=numbers[5],
        round_trip=numbers[15] / 1e6,
        retransmitted=numbers[23],
        least_round_trip=0.0 if least == 0xFFFFFFFF else least / 1e6,
        data_sent=later[5],
        duplicates=duplicates,
        reorderings=reorderings,
        out_of_order=out_of_order,
        quiet=min(numbers[11], numbers[12]) / 1e3,
        send_window=window,
    )


def half_open(family: int, port: int) -> bool:
    """True if a connection to the local *port* is in SYN_RECV. False if the kernel does not say."""
    with contextlib.suppress(OSError):
        return any(sock_diag.sockets(family, ("SYN_RECV",), port))
    return False
