"""Constants and structures of the C API as strace(1) writes them."""

from __future__ import annotations

import errno
import select
import socket
import typing

from ..address import Address

_SHOWN = 24  # characters of data


def _named(*names: str, of: typing.Any = socket) -> dict[int, str]:
    return {int(getattr(of, name)): name for name in names if hasattr(of, name)}


FAMILIES = _named("AF_UNSPEC", "AF_INET", "AF_INET6")
KINDS = _named("SOCK_STREAM", "SOCK_DGRAM")
PROTOCOLS = _named("IPPROTO_TCP", "IPPROTO_UDP")
HOWS = _named("SHUT_RD", "SHUT_WR", "SHUT_RDWR")
_LEVELS = _named("SOL_SOCKET", "IPPROTO_TCP", "IPPROTO_IPV6")
_OPTIONS = {
    socket.SOL_SOCKET: _named(
        "SO_REUSEADDR",
        "SO_REUSEPORT",
        "SO_KEEPALIVE",
        "SO_OOBINLINE",
        "SO_LINGER",
        "SO_ERROR",
        "SO_RCVBUF",
        "SO_SNDBUF",
    )
    | {26: "SO_ATTACH_FILTER"},
    socket.IPPROTO_TCP: _named("TCP_NODELAY", "TCP_MAXSEG", "TCP_INFO", "TCP_QUICKACK"),
    socket.IPPROTO_IPV6: _named("IPV6_V6ONLY"),
}
_MESSAGES = _named("MSG_DONTWAIT", "MSG_PEEK", "MSG_WAITALL", "MSG_NOSIGNAL", "MSG_OOB")
_ADDRINFO = _named(
    "AI_PASSIVE", "AI_CANONNAME", "AI_NUMERICHOST", "AI_NUMERICSERV", "AI_ADDRCONFIG"
)
_NAMEINFO = _named("NI_NUMERICHOST", "NI_NUMERICSERV")
_RESOLVER = {int(getattr(socket, name)): name for name in dir(socket) if name.startswith("EAI_")}
_POLL = _named("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL", of=select)
_EPOLL = _named(
    "EPOLLIN",
    "EPOLLPRI",
    "EPOLLOUT",
    "EPOLLERR",
    "EPOLLHUP",
    "EPOLLRDHUP",
    "EPOLLET",
    "EPOLLONESHOT",
    of=select,
)


def _flags(value: int, names: dict[int, str]) -> str:
    found = [name for bit, name in sorted(names.items()) if bit and value & bit]
    rest = value & ~sum(bit for bit in names if value & bit)
    return " | ".join(found + ([hex(rest)] if rest else [])) or "0"


def one(value: int, names: dict[int, str]) -> str:
    return names.get(int(value), str(int(value)))


def message(flags: int) -> str:
    return _flags(flags, _MESSAGES)


def of_addrinfo(flags: int) -> str:
    return _flags(flags, _ADDRINFO)


def of_nameinfo(flags: int) -> str:
    return _flags(flags, _NAMEINFO)


def polled(mask: int) -> str:
    return _flags(mask, _POLL)


def epolled(mask: int) -> str:
    return _flags(mask, _EPOLL)


def option(level: int, name: int) -> tuple[str, str]:
    """SOL_SOCKET, SO_REUSEADDR"""
    return one(level, _LEVELS), one(name, _OPTIONS.get(level, {}))


def value(given: typing.Any) -> str:
    """The value of an option: a number, or its size in bytes."""
    return str(given) if isinstance(given, int) else f"({len(given)} bytes)"


def error(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))


def errno_of(number: int) -> str:
    """The value of SO_ERROR: 0, or the error's name."""
    return error(number) if number else "0"


def resolver(number: int | None) -> str:
    return _RESOLVER.get(number or 0, str(number))


def sockaddr(where: typing.Any) -> str:
    """127.0.0.1:7007, [::1]:7007"""
    return (
        str(Address(where[0], where[1])).removeprefix("tcp://")
        if isinstance(where, tuple) and len(where) >= 2
        else str(where)
    )


def text(data: bytes | bytearray | memoryview) -> str:
    """The first bytes as a C string: "hello\\n"."""
    inside, shown = "", 0
    for b in bytes(data[:_SHOWN]):
        letter = chr(b) if 32 <= b < 127 and b not in b'"\\' else _ESCAPES.get(b, f"\\{b:03o}")
        if len(inside) + len(letter) > _SHOWN:
            break
        inside += letter
        shown += 1
    return f'"{inside}"' + ("..." if len(data) > shown else "")


def came(data: bytes) -> str:
    """The bytes that a read returned; nothing for end of file."""
    return text(data) if data else ""


_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\"}
