"""Sockets: open_client and open_listeners, as CS:APP 11.4 writes them, for every address and with every error told.

Whatever makes a socket or a poller goes through *kernel*, so that another kind (one that records, say) can take its
place; a socket that accept gives comes from it as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import queue
import random
import select
import socket
import struct
import termios
import threading
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass

from .address import Address
from .errors import CapacityError, ConnectError, ListenError, LocalError
from .rio import Poller, Rio
from .stop import Stop

T = typing.TypeVar("T")

_SO_ATTACH_FILTER = 26  # of <asm-generic/socket.h>, which the socket module leaves out
# Load the byte of TCP's flags; if ACK is set go on, else skip one; take it all; take nothing (<linux/bpf_common.h>).
_ACKS_ALONE = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x10), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
_PEER_OPTIONS = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
BACKLOG = 1024  # CS:APP's LISTENQ; the kernel caps it at net.core.somaxconn

# accept(2), "Error handling": Linux passes errors already pending on the new connection; they are about that one alone.
# EPERM is in its list of errors as "Firewall rules forbid connection".
# "Various Linux kernels can return other errors such as ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT, ETIMEDOUT".
_PENDING = (
    "ECONNABORTED EPROTO ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH ETIMEDOUT EPERM "
    "ESOCKTNOSUPPORT EPROTONOSUPPORT"
)
_OF_ONE_CONNECTION = frozenset(getattr(errno, name) for name in _PENDING.split())
# The process, the system, or the socket's memory is at its limit: nothing is wrong with the connection, which waits.
OF_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSR})


def unsent(sock: socket.socket) -> int:
    """How many bytes were written that the peer's kernel has not acknowledged, a FIN counted as one (tcp(7), SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])


def waits(sock: socket.socket) -> bool:
    """Whether something waits to be read: data, the end of file or an error."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class Kernel:
    """The calls of an end that are about its sockets: whoever wants them made otherwise (recorded, say) sets its own on *kernel*."""

    open: Callable[[int, int, int], socket.socket] = staticmethod(socket.socket)  # socket(2), close-on-exec
    accept: Callable[[socket.socket], tuple[socket.socket, tuple[str, int]]] = staticmethod(socket.socket.accept)
    poll: Callable[[], Poller] = staticmethod(select.poll)
    epoll: Callable[[], select.epoll] = staticmethod(select.epoll)
    # On a descriptor, read(2) and write(2) do what recv and send do; Python calls them with less ado, and a message
    # of the event engine is little more than the two.
    read: Callable[[int, int], bytes] = staticmethod(os.read)
    write: Callable[[int, bytes | bytearray | memoryview], int] = staticmethod(os.write)
    getaddrinfo: Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]] = staticmethod(socket.getaddrinfo)  # type: ignore[assignment]
    fork: Callable[[], int] = staticmethod(os.fork)
    exit: Callable[[int], typing.NoReturn] = staticmethod(os._exit)


kernel = Kernel()


def getaddrinfo(address: Address, family: int, flags: int, timeout: float | None = None) -> list[tuple[int, int, int, tuple[str, int]]]:
    """The (family, type, protocol, sockaddr) that *address* stands for, each once, in the resolver's order.

    AI_ADDRCONFIG, which the book sets, is left out: it hides "localhost" on a machine that has no network. A name is
    looked up for *timeout* seconds at the most. Raises socket.gaierror.
    """
    flags |= socket.AI_NUMERICSERV
    wanted = (address.host, str(address.port), family, socket.SOCK_STREAM, 0)
    try:
        if timeout is None:
            found = kernel.getaddrinfo(*wanted, flags)
        else:
            found = _within(timeout, lambda: kernel.getaddrinfo(*wanted, flags), address)
    except UnicodeError:  # what IDNA does not take: a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return list(dict.fromkeys((f, t, p, sockaddr) for f, t, p, _, sockaddr in found))


def _within(seconds: float, call: Callable[[], T], address: Address) -> T:
    """What *call* returns, or raises. Raises socket.gaierror if it has not after *seconds*.

    The resolver cannot be interrupted, nor given a limit: so it runs in a thread, which is left behind. An address in
    numbers is not looked up, and needs none.
    """
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(address.host or "")
        return call()
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # raised where it is waited for
            answers.put((None, error))

    thread = threading.Thread(target=look_up, name=f"getaddrinfo {address}", daemon=True)
    thread.start()
    try:
        found, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer from the resolver within {seconds:.3g} s") from None
    thread.join()
    if error is not None:
        raise error
    return typing.cast(T, found)


def _no_delay(sock: socket.socket) -> None:
    """Send each write at once: Nagle's algorithm would hold an echo's last segment for the peer's delayed ACK."""
    with contextlib.suppress(OSError):  # a connection that is already gone
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def of_sockaddr(sockaddr: tuple[typing.Any, ...]) -> Address:
    """The address of a sockaddr; a link-local one with its scope, as in fe80::1%eth0, without which nobody reaches it (ipv6(7))."""
    host, port = sockaddr[:2]
    if len(sockaddr) > 3 and sockaddr[3] and "%" not in host:
        with contextlib.suppress(OSError):  # the interface is gone
            return Address(f"{host}%{socket.if_indextoname(sockaddr[3])}", port)
        return Address(f"{host}%{sockaddr[3]}", port)
    return Address(host, port)


# The server's end


@dataclass(slots=True)
class Listener:
    """A socket that listens, without blocking, on *address*."""

    sock: socket.socket
    address: Address

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> tuple[socket.socket, Address] | None:
        """The next connection and its peer, or None if none waits. One that failed while it waited is passed over.

        Raises CapacityError when there is no room for it now, and OSError for what accept cannot go on after.
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
            _no_delay(sock)
            return sock, of_sockaddr(sockaddr)
        return None

    def queue(self) -> int:
        """How many connections wait to be accepted (tcp(7): TCP_INFO of a listener tells it as tcpi_unacked)."""
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        return int(struct.unpack_from("I", info, 24)[0])

    def deafen(self) -> None:
        """Drop every SYN from here on (socket(7), SO_ATTACH_FILTER); handshakes that have begun go on.

        Who connects now tries again a second later, and is refused, where a close could reset who has just connected.
        """
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _ACKS_ALONE))
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_ACKS_ALONE), ctypes.addressof(program)))

    def close(self, *, everywhere: bool = False) -> None:
        """Close this copy; *everywhere* ends the listening itself, whoever else holds a copy (a child just forked, say)."""
        with contextlib.suppress(OSError):
            if everywhere:
                self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def open_listeners(
    address: Address | str,
    *,
    family: int = socket.AF_UNSPEC,
    tell: Callable[[str], None] = lambda _: None,
    peer_timeout: float | None = None,
) -> list[Listener]:
    """Listen on every address that *address* stands for (open_listenfd, CS:APP 11.4.8): the wildcard is 0.0.0.0 and ::.

    A listener on :: takes IPv6 alone, and port 0 is one free port for all. Of several addresses one that this machine
    lacks (::1 in /etc/hosts, and no IPv6 on the loopback interface) is left out, and reported to *tell*. A peer that no
    longer answers is given up after *peer_timeout* seconds; None: as the kernel does. Raises ListenError, with nothing
    left open.
    """
    if isinstance(address, str):
        address = Address.parse(address)
    try:
        found = getaddrinfo(address, family, socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    for _ in range(32):  # a port that is free in one family may be taken in the other
        listeners = _listen_on_all(address, found, tell)
        if listeners is not None:
            for listener in listeners if peer_timeout is not None else []:
                _give_up_after(listener.sock, typing.cast(float, peer_timeout))
            return listeners
    raise ListenError(f"cannot listen on {address}: no port was free in every family", errno.EADDRINUSE)


def _give_up_after(sock: socket.socket, seconds: float) -> None:
    """End connections whose peer has not answered for *seconds* (tcp(7)); accepted sockets inherit it.

    TCP_USER_TIMEOUT is for a peer that does not acknowledge what was written, keep-alive for one of which nothing is
    expected: a probe after half of the time, and then each eighth. A peer whose window stays shut for so long is given
    up too.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, min(int(seconds * 1000), 2**31 - 1)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, min(int(seconds / 2), 32_767)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, min(int(seconds / 8), 32_767)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _listen_on_all(
    address: Address, found: list[tuple[int, int, int, tuple[str, int]]], tell: Callable[[str], None]
) -> list[Listener] | None:
    """One listener for each address found, or None if port 0 got a port that another of them could not have."""
    listeners: list[Listener] = []
    port = address.port
    lacking: ListenError | None = None
    try:
        for family, kind, protocol, sockaddr in found:
            where = (sockaddr[0], port, *sockaddr[2:])
            try:
                listeners.append(_listen(family, kind, protocol, where))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                failed = ListenError(f"cannot listen on {Address(sockaddr[0], port)}: {reason}", error.errno, port)
                if len(found) > 1 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    lacking = failed
                    tell(f"not listening on {Address(sockaddr[0], port)}: {reason}")
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


def free_port(preferred: int | None = None) -> int:
    """A port that nothing is bound to, not even a connection in TIME_WAIT: *preferred*, or else a random one.

    It is below the ports that the kernel gives to clients (ip_local_port_range, ip(7)): no client of this machine takes
    it meanwhile, and no client connects to itself. Raises LocalError.
    """
    for port in (*([] if preferred is None else [preferred]), *random.sample(range(10_000, 30_000), 50)):
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


def _listen(family: int, kind: int, protocol: int, where: tuple[str | int, ...], *, shared: bool = False) -> Listener:
    sock = kernel.open(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else TIME_WAIT keeps a restart from the port
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # else :: would take the port of 0.0.0.0 too
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it: it finds dead peers
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # so is this: an urgent byte is a byte, and comes back
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return Listener(sock, of_sockaddr(sock.getsockname()))
    except BaseException:
        sock.close()
        raise


def share(listener: Listener, n: int) -> list[Listener]:
    """*n* listeners on one address, the given one the first, among which the kernel spreads the clients (SO_REUSEPORT).

    The first was bound without the option, so that whoever else wants the port is told that it is in use; set now, it
    lets the others in. Raises ListenError; the given one stays open.
    """
    sock = listener.sock
    listeners = [listener]
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(n - 1):
            listeners.append(_listen(sock.family, sock.type, sock.proto, sock.getsockname(), shared=True))
            for option in _PEER_OPTIONS:
                listeners[-1].sock.setsockopt(socket.IPPROTO_TCP, option, sock.getsockopt(socket.IPPROTO_TCP, option))
    except OSError as error:
        _close(listeners[1:])
        raise ListenError(f"cannot share {listener.address}: {os.strerror(error.errno or 0)}", error.errno) from None
    return listeners


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


# The client's end


def open_client(address: Address | str, timeout: float | None = 10.0, *, family: int = socket.AF_UNSPEC, stop: Stop | None = None) -> Rio:
    """Connect to the first address that answers (open_clientfd, CS:APP 11.4.7), and return a Rio on the connection.

    Each address is given its share of what is left of *timeout* seconds; None waits as long as the kernel does. The
    Rio has no deadline, and heeds *stop*. Raises ConnectError with the reason of each address, nothing left open.
    """
    if isinstance(address, str):
        address = Address.parse(address)
    if address.host is None:
        address = Address("localhost", address.port)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        found = getaddrinfo(address, family, 0, timeout)
    except socket.gaierror as error:
        raise ConnectError(f"cannot connect to {address}: {error.strerror}") from None
    reasons = []
    for i, (f, kind, protocol, sockaddr) in enumerate(found):
        share = None if deadline is None else max(0.001, (deadline - time.monotonic()) / (len(found) - i))
        try:
            return Rio(_connect(f, kind, protocol, sockaddr, share), stop=stop, poll=kernel.poll)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else f"no answer within {share:.3g} s"
            reasons.append(f"{of_sockaddr(sockaddr)}: {reason}")
    raise ConnectError(f"cannot connect to {address}: " + "; ".join(reasons), tuple(reasons))


def to_itself(sock: socket.socket) -> bool:
    """Whether both ends have one name: the kernel picked the very port that is called for our end, and TCP connected
    to itself (a simultaneous open, RFC 9293, 3.5). That echoes perfectly, and nobody is there."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # reset already: the next read says so
        return False


def _connect(family: int, kind: int, protocol: int, sockaddr: tuple[str, int], timeout: float | None) -> socket.socket:
    sock = kernel.open(family, kind, protocol)
    try:
        sock.settimeout(timeout)
        sock.connect(sockaddr)
        if to_itself(sock):
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        _no_delay(sock)
        sock.settimeout(None)
        return sock
    except BaseException:
        sock.close()
        raise
