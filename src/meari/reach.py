"""Connecting, and how long that takes: the three-way handshake alone, without the name's lookup."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time

from .address import Address
from .errors import ConnectError, LocalError, Stopped
from .net import OF_CAPACITY, getaddrinfo, kernel, of_sockaddr, to_itself
from .stop import Stop, milliseconds

Target = tuple[int, int, int, tuple[str, int]]  # family, type, protocol, address: as getaddrinfo gives it


def resolve(address: Address, family: int, timeout: float = 10.0) -> list[Target]:
    """What *address* stands for; no host is localhost. Raises ConnectError, also without an answer within *timeout* seconds."""
    if address.host is None:
        address = Address("localhost", address.port)
    try:
        return getaddrinfo(address, family, 0, timeout)
    except socket.gaierror as error:
        raise ConnectError(f"cannot connect to {address}: {error.strerror}") from None


def begin(target: Target, mss: int | None = None) -> socket.socket:
    """A socket that is connecting, without blocking; its segments, both ways, are of *mss* bytes at the most. Raises OSError."""
    family, kind, protocol, address = target
    sock = kernel.open(family, kind, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a message goes out when it is sent
        if mss is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        return sock
    except BaseException:
        sock.close()
        raise


def trouble(sock: socket.socket) -> int:
    """Why a connection that was begun is not there; 0 if it is. TCP may have connected to itself (net.open_client)."""
    error: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error or (errno.ECONNREFUSED if to_itself(sock) else 0)


def connect(targets: list[Target], timeout: float, stop: Stop, mss: int | None = None) -> tuple[socket.socket, Target, int]:
    """The first of *targets* that answers, each within *timeout* seconds, and the nanoseconds that it took.

    Raises ConnectError with the reason of each, LocalError without a descriptor or memory for one more, Stopped.
    """
    reasons = []
    for target in targets:
        began = time.monotonic_ns()
        try:
            sock = begin(target, mss)
        except OSError as error:
            if error.errno in OF_CAPACITY:
                raise LocalError(f"no more connections can be opened: {error.strerror} (ulimit -n)") from None
            reasons.append(f"{of_sockaddr(target[3])}: {error.strerror or error}")
            continue
        why = _await(sock, timeout, stop)
        if not why:
            return sock, target, time.monotonic_ns() - began
        sock.close()
        reasons.append(f"{of_sockaddr(target[3])}: {why}")
    raise ConnectError(f"cannot connect to {'; '.join(reasons)}", tuple(reasons))


def _await(sock: socket.socket, timeout: float, stop: Stop) -> str:
    """Wait for a connection that was begun; why it is not there, if it is not. Raises Stopped, with the socket closed."""
    poller = kernel.poll()
    poller.register(sock.fileno(), select.POLLOUT)
    poller.register(stop.fileno(), 0)
    ready = [fd for fd, _ in poller.poll(milliseconds(timeout))]
    if stop.fileno() in ready:
        sock.close()
        raise Stopped("stopped")
    if not ready:
        return f"no answer within {timeout:g} s"
    error = trouble(sock)
    return os.strerror(error) if error else ""
