"""Connecting: open_clientfd of CS:APP 11.4.7, for every address and transport, with every error.

A transport is one row of SCHEMES: how an address of that scheme is resolved to endpoints, and which
layer lies over the connection. Sockets and pollers are made through *kernel*, so that a recorder
can replace it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from .address import HTTP, UNIX, Address
from .errors import ConnectError, DeadlineError, LocalError, Stopped
from .http_layers import HttpLayers
from .lookup import within
from .rio import Poller, Rio
from .sockets import no_delay, of_sockaddr, to_itself
from .stop import Stop, milliseconds
from .wire.layer import Layer

if typing.TYPE_CHECKING:
    from .wire.secured import ClientTls


# The process, the system, or the socket's memory is at its limit: nothing is wrong with the
# connection, which waits.
OF_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSR})


class Kernel:
    """The system calls on sockets, as attributes: a recorder replaces *kernel* by its own."""

    # socket(2), close-on-exec.
    open: Callable[[int, int, int], socket.socket] = staticmethod(socket.socket)
    accept: Callable[[socket.socket], tuple[socket.socket, tuple[str, int]]] = staticmethod(
        socket.socket.accept
    )
    poll: Callable[[], Poller] = staticmethod(select.poll)
    epoll: Callable[[], select.epoll] = staticmethod(select.epoll)
    # On a descriptor, read(2) and write(2) do what recv and send do; Python calls them with less
    # ado, and a message of the event engine is little more than the two.
    read: Callable[[int, int], bytes] = staticmethod(os.read)
    write: Callable[[int, bytes | bytearray | memoryview], int] = staticmethod(os.write)
    getaddrinfo: Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]] = staticmethod(
        socket.getaddrinfo
    )  # type: ignore[assignment]
    fork: Callable[[], int] = staticmethod(os.fork)
    exit: Callable[[int], typing.NoReturn] = staticmethod(os._exit)


kernel = Kernel()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket is bound, or connects to: one result of getaddrinfo."""

    family: int
    kind: int
    protocol: int
    sockaddr: typing.Any  # (host, port, ...), or the name of a Unix socket
    scheme: str = "tcp"
    layer: Callable[[], Layer] | None = None  # makes what lies over a connection to it
    # Called with each connected socket, before the layer: sends what comes first.
    announce: Callable[[socket.socket], object] = bool

    @property
    def address(self) -> Address:
        found = of_sockaddr(self.sockaddr)
        return Address(found.host, found.port, self.scheme)


# Resolution


def endpoints(
    address: Address, family: int, flags: int, timeout: float | None = None
) -> list[Endpoint]:
    """Return what *address* stands for, each endpoint once, in the resolver's order.

    *family* of 0 is any; *flags* are getaddrinfo's. A name is looked up for *timeout* seconds at
    the most. Raises socket.gaierror.
    """
    return SCHEMES[address.scheme].find(address, family, flags, timeout)


def _by_name(address: Address, family: int, flags: int, timeout: float | None) -> list[Endpoint]:
    """AI_ADDRCONFIG, which the book sets, is left out: it hides "localhost" on a machine that has
    no network.
    """
    flags |= socket.AI_NUMERICSERV
    wanted = (address.host, str(address.port), family, socket.SOCK_STREAM, 0)
    try:
        found = within(timeout, lambda: kernel.getaddrinfo(*wanted, flags), address)
    except UnicodeError:  # what IDNA does not take: a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return list(
        dict.fromkeys(Endpoint(f, t, p, sockaddr, address.scheme) for f, t, p, _, sockaddr in found)
    )


def _by_path(address: Address, family: int, flags: int, timeout: float | None) -> list[Endpoint]:
    if family:
        raise socket.gaierror(socket.EAI_FAMILY, "a Unix socket is neither of IPv4 nor of IPv6")
    return [Endpoint(socket.AF_UNIX, socket.SOCK_STREAM, 0, address.socket_name(), address.scheme)]


def _tls(address: Address, tls: ClientTls | None) -> Callable[[], Layer]:
    from .tls_context import client_context
    from .wire.secured import ClientTls

    return partial((tls or ClientTls(client_context())).layer, address.host or "localhost")


@dataclass(frozen=True, slots=True)
class Scheme:
    """A transport: how an address is resolved, and what makes the layer of a connection to it."""

    find: Callable[[Address, int, int, float | None], list[Endpoint]]
    layer: Callable[[Address, ClientTls | None], Callable[[], Layer]] | None = None


SCHEMES = {"tcp": Scheme(_by_name), "tls": Scheme(_by_name, _tls), "unix": Scheme(_by_path)}
SCHEMES |= {name: Scheme(_by_path if name in UNIX else _by_name, HttpLayers) for name in HTTP}


def resolve(
    address: Address,
    family: int = socket.AF_UNSPEC,
    timeout: float | None = 10.0,
    tls: ClientTls | None = None,
) -> list[Endpoint]:
    """Return the endpoints to connect to; no host is localhost.

    A far end's certificate is verified as *tls* says.

    Raises ConnectError, also without an answer in *timeout* seconds.
    """
    address = address.to_connect()
    layer = SCHEMES[address.scheme].layer
    try:
        found = endpoints(address, family, 0, timeout)
    except socket.gaierror as error:
        raise ConnectError(f"cannot connect to {address}: {error.strerror}") from None
    return (
        found
        if layer is None
        else [replace(endpoint, layer=layer(address, tls)) for endpoint in found]
    )


# Connecting


def begin(endpoint: Endpoint, mss: int | None = None) -> socket.socket:
    """Return a socket that is connecting, without blocking; *mss* limits its segments, both ways.

    Raises OSError.
    """
    sock = kernel.open(endpoint.family, endpoint.kind, endpoint.protocol)
    try:
        no_delay(sock)
        if mss is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        sock.setblocking(False)
        try:
            sock.connect(endpoint.sockaddr)
        except BlockingIOError as error:
            # A Unix socket whose queue is full (connect(2)): nothing was begun.
            if error.errno == errno.EAGAIN:
                raise ConnectionRefusedError(errno.EAGAIN, "its accept queue is full") from None
        return sock
    except BaseException:
        sock.close()
        raise


def trouble(sock: socket.socket) -> int:
    """Return why a connection that was begun is not there (an errno); 0 if it is.

    TCP may have connected to itself.
    """
    error: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error or (errno.ECONNREFUSED if to_itself(sock) else 0)


def connect(
    found: Sequence[Endpoint],
    timeout: float | None,
    stop: Stop | None = None,
    mss: int | None = None,
) -> tuple[socket.socket, Endpoint, int]:
    """Connect to the first of *found* that answers: the socket, its endpoint, and the nanoseconds
    of the handshake.

    Each endpoint gets its share of the remaining *timeout* seconds; None waits as long as the
    kernel does. The socket does not block. Raises ConnectError with the reason of each, LocalError
    without a descriptor or memory for one more, Stopped; nothing is left open.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    reasons = []
    for i, endpoint in enumerate(found):
        share = (
            None
            if deadline is None
            else max(0.001, (deadline - time.monotonic()) / (len(found) - i))
        )
        began = time.monotonic_ns()
        try:
            sock = begin(endpoint, mss)
        except OSError as error:
            if error.errno in OF_CAPACITY:
                raise LocalError(
                    f"no more connections can be opened: {error.strerror} (ulimit -n)"
                ) from None
            reasons.append(f"{endpoint.address}: {error.strerror or error}")
            continue
        why = _await(sock, share, stop)
        if not why:
            endpoint.announce(sock)
            return sock, endpoint, time.monotonic_ns() - began
        sock.close()
        reasons.append(f"{endpoint.address}: {why}")
    raise ConnectError(f"cannot connect to {'; '.join(reasons)}", tuple(reasons))


def _await(sock: socket.socket, timeout: float | None, stop: Stop | None) -> str:
    """Wait for a connection that was begun; return why it is not there, if it is not.

    Raises Stopped, with the socket closed.
    """
    poller = kernel.poll()
    poller.register(sock.fileno(), select.POLLOUT)
    if stop is not None:
        poller.register(stop.fileno(), 0)
    try:
        ready = [fd for fd, _ in poller.poll(milliseconds(timeout))]
    except BaseException:
        sock.close()
        raise
    if stop is not None and stop.fileno() in ready:
        sock.close()
        raise Stopped("stopped")
    if not ready:
        return f"no answer within {timeout:.3g} s"
    error = trouble(sock)
    return os.strerror(error) if error else ""


def open_client(
    address: Address | str,
    timeout: float | None = 10.0,
    *,
    family: int = socket.AF_UNSPEC,
    stop: Stop | None = None,
    tls: ClientTls | None = None,
) -> Rio:
    """Connect to the first endpoint of *address* that answers (open_clientfd), and return a Rio on
    the connection.

    As connect(), and name resolution too ends within *timeout* seconds. The Rio has no deadline,
    and obeys *stop*.
    """
    if isinstance(address, str):
        address = Address.parse(address)
    began = time.monotonic()
    found = resolve(address, family, timeout, tls)
    deadline = None if timeout is None else max(time.monotonic() + 0.001, began + timeout)
    try:
        sock, endpoint, _ = connect(
            found, None if deadline is None else deadline - time.monotonic(), stop
        )
    except ConnectError as error:
        raise ConnectError(
            f"cannot connect to {address}: {'; '.join(error.reasons)}", error.reasons
        ) from None
    rio = Rio(sock, deadline=deadline, stop=stop, poll=kernel.poll)
    try:
        rio.layer = None if endpoint.layer is None else endpoint.layer()
        rio.handshake()
    except (OSError, ValueError, DeadlineError) as error:
        rio.close()
        reason = f"{endpoint.address}: the handshake failed: {error}"
        raise ConnectError(f"cannot connect to {address}: {reason}", (reason,)) from None
    except BaseException:
        rio.close()
        raise
    rio.deadline = None
    return rio
