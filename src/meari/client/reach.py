"""Connecting, and how long that takes: the three-way handshake alone, without the name's lookup."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time

from ..address import Address
from ..errors import ConnectError
from ..net import getaddrinfo, kernel, of_sockaddr

Target = tuple[int, int, int, tuple[str, int]]  # family, type, protocol, address: as getaddrinfo gives it


def resolve(address: Address, family: int) -> list[Target]:
    """What *address* stands for; no host is localhost. Raises ConnectError."""
    if address.host is None:
        address = Address("localhost", address.port)
    try:
        return getaddrinfo(address, family, 0)
    except socket.gaierror as error:
        raise ConnectError(f"cannot connect to {address}: {error.strerror}") from None


def begin(target: Target, timeout: float = 0.0) -> socket.socket:
    """A socket that is connecting, or after *timeout* seconds connected; it does not block then. Raises OSError."""
    family, kind, protocol, address = target
    sock = kernel.open(family, kind, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a message goes out when it is sent
        sock.settimeout(timeout)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        sock.setblocking(False)
        return sock
    except BaseException:
        sock.close()
        raise


def trouble(sock: socket.socket) -> int:
    """Why a connection that was begun is not there; 0 if it is. TCP may have connected to itself (net.open_client)."""
    error: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        return error or (errno.ECONNREFUSED if sock.getsockname() == sock.getpeername() else 0)
    except OSError as lost:
        return lost.errno or errno.ENOTCONN


def connect(targets: list[Target], timeout: float) -> tuple[socket.socket, Target, int]:
    """The first of *targets* that answers within *timeout* seconds, and the nanoseconds that it took. Raises ConnectError."""
    reasons = []
    for target in targets:
        where = of_sockaddr(target[3])
        began = time.monotonic_ns()
        try:
            sock = begin(target, timeout)
        except TimeoutError:
            reasons.append(f"{where}: no answer within {timeout:g} s")
            continue
        except OSError as error:
            reasons.append(f"{where}: {error.strerror or error}")
            continue
        took = time.monotonic_ns() - began
        if not (error_number := trouble(sock)):
            return sock, target, took
        sock.close()
        reasons.append(f"{where}: {os.strerror(error_number)}")
    raise ConnectError(f"cannot connect to {'; '.join(reasons)}", tuple(reasons))
