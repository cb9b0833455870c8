"""Listening: open_listenfd of CS:APP 11.4.8, for every address and every transport, with every
error reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import unix
from .address import UNIX, Address
from .errors import CapacityError, ListenError
from .net import OF_CAPACITY, Endpoint, endpoints, kernel
from .sockets import half_open, no_delay, peer_of, tcp_info

_SO_ATTACH_FILTER = 26  # of <asm-generic/socket.h>, which the socket module leaves out
# Load the byte of TCP's flags; if ACK is set go on, else skip one; take it all; take nothing
# (<linux/bpf_common.h>).
_ACKS_ALONE = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x10), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
_PEER_OPTIONS = (
    socket.TCP_USER_TIMEOUT,
    socket.TCP_KEEPIDLE,
    socket.TCP_KEEPINTVL,
    socket.TCP_KEEPCNT,
)
BACKLOG = 1024  # CS:APP's LISTENQ; the kernel caps it at net.core.somaxconn

# accept(2), "Error handling": Linux passes errors already pending on the new connection; they are
# about that one alone. EPERM is in its list of errors as "Firewall rules forbid connection".
# "Various Linux kernels can return other errors such as ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT,
# ETIMEDOUT".
_PENDING = (
    "ECONNABORTED EPROTO ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP "
    "ENETUNREACH ETIMEDOUT EPERM "
    "ESOCKTNOSUPPORT EPROTONOSUPPORT"
)
_OF_ONE_CONNECTION = frozenset(getattr(errno, name) for name in _PENDING.split())


def _readable(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))


@dataclass(slots=True)
class Listener:
    """A socket that listens, without blocking, on *address*."""

    sock: socket.socket
    address: Address
    file: unix.File | None = None  # of a Unix socket with a path

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> tuple[socket.socket, Address] | None:
        """The next connection and its peer, or None if none waits.

        One that failed while it waited is passed over.

        Raises CapacityError when there is no room for it now, and OSError for what accept cannot go
        on after.
        """
        for _ in range(BACKLOG):
            try:
                sock, sockaddr = kernel.accept(self.sock)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _OF_ONE_CONNECTION:
                    continue
                if error.errno in OF_CAPACITY:
                    raise CapacityError(os.strerror(error.errno)) from None
                raise
            no_delay(sock)
            return sock, peer_of(sock, sockaddr)
        return None

    def queue(self) -> int:
        """Return how many connections wait to be accepted: TCP_INFO of a listener gives it as
        tcpi_unacked (tcp(7)).

        For a Unix socket the kernel does not report the number: 1 stands for some.
        """
        return int(_readable(self.sock)) if self.is_unix else tcp_info(self.sock).unacked

    @property
    def is_unix(self) -> bool:
        return self.sock.family == socket.AF_UNIX

    def reject_syn(self) -> None:
        """Drop every new SYN (socket(7), SO_ATTACH_FILTER); handshakes in progress continue.

        A client that connects now retries after a second and is refused. A close could reset a
        client that has just connected. The file of a Unix socket is removed instead.
        """
        if self.is_unix:
            self.remove()
            return
        program = ctypes.create_string_buffer(
            b"".join(struct.pack("HBBI", *instruction) for instruction in _ACKS_ALONE)
        )
        with contextlib.suppress(OSError):
            self.sock.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_FILTER,
                struct.pack("HL", len(_ACKS_ALONE), ctypes.addressof(program)),
            )

    def handshakes(self) -> bool:
        """True if a handshake to this port has begun and is not finished (SYN_RECV)."""
        return not self.is_unix and half_open(self.sock.family, self.address.port)

    def close(self, *, everywhere: bool = False) -> None:
        """Close this copy; *everywhere* ends listening itself, also if another process holds a copy
        (a child just forked, say).
        """
        with contextlib.suppress(OSError):
            if everywhere:
                self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def remove(self) -> None:
        """Remove the file of a Unix socket, if it is still the one made for this listener."""
        if self.file is not None:
            self.file.remove()


def open_listeners(
    address: Address | str,
    *,
    family: int = socket.AF_UNSPEC,
    report: Callable[[str], None] = lambda _: None,
    peer_timeout: float | None = None,
    mode: int = 0o600,
) -> list[Listener]:
    """Listen on every address that *address* stands for (open_listenfd, CS:APP 11.4.8): the
    wildcard is 0.0.0.0 and ::.

    A listener on :: takes IPv6 alone, and port 0 is one free port for all. Of several addresses one
    that this machine lacks (::1 in /etc/hosts, and no IPv6 on the loopback interface) is left out,
    and reported to *report*. A peer that no longer answers is given up after *peer_timeout*
    seconds; None: as the kernel does. The file of a Unix socket has *mode*. Raises ListenError,
    with nothing left open.
    """
    if isinstance(address, str):
        address = Address.parse(address)
    if address.scheme in UNIX:
        return [_listen_on_path(address, mode)]
    try:
        found = endpoints(address, family, socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    for _ in range(32):  # a port that is free in one family may be taken in the other
        listeners = _listen_on_all(address, found, report)
        if listeners is not None:
            for listener in listeners if peer_timeout is not None else []:
                _give_up_after(listener.sock, typing.cast(float, peer_timeout))
            return listeners
    raise ListenError(
        f"cannot listen on {address}: no port was free in every family", errno.EADDRINUSE
    )


def _give_up_after(sock: socket.socket, seconds: float) -> None:
    """End connections whose peer has not answered for *seconds* (tcp(7)); accepted sockets inherit
    it.

    TCP_USER_TIMEOUT is for a peer that does not acknowledge what was written, keep-alive for one of
    which nothing is expected: a probe after half of the time, and then each eighth. A peer whose
    window stays shut for so long is given up too.
    """
    sock.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, min(int(seconds * 1000), 2**31 - 1))
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, min(int(seconds / 2), 32_767)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, min(int(seconds / 8), 32_767)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _listen_on_path(address: Address, mode: int) -> Listener:
    sock = kernel.open(socket.AF_UNIX, socket.SOCK_STREAM, 0)
    try:
        file = unix.bind(sock, address, mode, BACKLOG)
        sock.setblocking(False)
        return Listener(sock, address, file)
    except BaseException:
        sock.close()
        raise


def _listen_on_all(
    address: Address, found: list[Endpoint], report: Callable[[str], None]
) -> list[Listener] | None:
    """One listener for each address found, or None if port 0 got a port that another of them could
    not have.
    """
    listeners: list[Listener] = []
    port = address.port
    lacking: ListenError | None = None
    try:
        for endpoint in found:
            host, _, *rest = endpoint.sockaddr
            where = replace(endpoint, sockaddr=(host, port, *rest))
            try:
                listeners.append(_listen(where))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                failed = ListenError(
                    f"cannot listen on {where.address}: {reason}", error.errno, port
                )
                if len(found) > 1 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    lacking = failed
                    report(f"not listening on {where.address}: {reason}")
                    continue
                _close(listeners)
                if error.errno == errno.EADDRINUSE and address.port == 0 and port != 0:
                    return None
                raise failed from None
            port = listeners[-1].address.port
    except BaseException:
        _close(listeners)
        raise
    if not listeners and lacking is not None:
        raise lacking
    return listeners


def _listen(endpoint: Endpoint, *, shared: bool = False) -> Listener:
    sock = kernel.open(endpoint.family, endpoint.kind, endpoint.protocol)
    try:
        # Else TIME_WAIT keeps a restart from the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if endpoint.family == socket.AF_INET6:
            # Else :: would take the port of 0.0.0.0 too.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it: it finds dead peers.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # So is this: an urgent byte is a byte, and comes back.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.bind(endpoint.sockaddr)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return Listener(sock, replace(endpoint, sockaddr=sock.getsockname()).address)
    except BaseException:
        sock.close()
        raise


def share(listener: Listener, n: int) -> list[Listener]:
    """*n* listeners on one address, the given one the first, among which the kernel spreads the
    clients (SO_REUSEPORT).

    The first was bound without the option, so that another process that wants the port learns that
    it is in use; set now, it lets the others in. Raises ListenError; the given one stays open.
    """
    sock = listener.sock
    listeners = [listener]
    # No two sockets can be bound to one path: copies of the one share its queue.
    if listener.is_unix:
        return listeners + [
            Listener(sock.dup(), listener.address, listener.file) for _ in range(n - 1)
        ]
    endpoint = Endpoint(
        sock.family, sock.type, sock.proto, sock.getsockname(), listener.address.scheme
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(n - 1):
            listeners.append(_listen(endpoint, shared=True))
            for option in _PEER_OPTIONS:
                listeners[-1].sock.setsockopt(
                    socket.IPPROTO_TCP, option, sock.getsockopt(socket.IPPROTO_TCP, option)
                )
    except OSError as error:
        _close(listeners[1:])
        raise ListenError(
            f"cannot share {listener.address}: {os.strerror(error.errno or 0)}", error.errno
        ) from None
    return listeners


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()
