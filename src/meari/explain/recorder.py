"""Replaces the calls of net.kernel and makes a row of each.

Directly around a call, the recorder only reads the clock and the thread's count of voluntary
context switches (getrusage(2), ru_nvcsw): if the count has grown, the thread slept in the call, so
the call blocked. After the call it reads the socket's state (TCP_INFO, SIOCINQ, SIOCOUTQ,
/proc/net/tcp, /proc/self/fd). These reads are the recorder's own and make no rows.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import typing
import weakref
from collections.abc import Callable, Collection

from ..net import Kernel, kernel
from ..rio import Poller
from . import symbols
from .observed import Draft, Sink, ended, ends, holds, inode, switches, view
from .recorded import RecordedEpoll, RecordedPoll, RecordedSocket
from .row import Record

T = typing.TypeVar("T")

# Characters of `gave`: a row goes through a pipe in one piece.
_LONGEST = 500

# Calls that can block; the first only on a blocking socket.
_AS_THE_SOCKET = frozenset({"accept", "connect", "recv", "send", "read", "write"})
_MAY_BLOCK = _AS_THE_SOCKET | {
    "poll",
    "select",
    "epoll_wait",
    "waitpid",
    "getaddrinfo",
    "getnameinfo",
}


class Recorder(Kernel):
    """Records each call and hands its row to *sink*.

    In a scene, *part* is the name of the recorded program and *port* the server's: each row then
    has the kernel's table of all sockets on that port, without the *old* ones (local and remote
    name).
    """

    def __init__(
        self,
        sink: Sink,
        *,
        part: str = "",
        port: int | None = None,
        old: Collection[tuple[str, str]] = (),
    ) -> None:
        self.sink = sink
        self.part = part
        self.port = port
        self._old = old
        self._inherited = frozenset(() if port is None else holds())
        self.note = ""  # for the next row
        self.records: tuple[Record, ...] = ()  # for the next write's
        self.forked: Callable[[], None] = lambda: None  # called first in a child
        self._sockets: weakref.WeakValueDictionary[int, RecordedSocket] = (
            weakref.WeakValueDictionary()
        )

    def install(self) -> None:
        """Replace the plain calls in this process and in those that it forks."""
        for name in (
            "open",
            "accept",
            "poll",
            "epoll",
            "read",
            "write",
            "getaddrinfo",
            "fork",
            "exit",
        ):
            setattr(kernel, name, getattr(self, name))

    def call(
        self,
        name: str,
        arguments: tuple[object, ...],
        do: Callable[[], T],
        *,
        sock: RecordedSocket | None = None,
        fd: int | None = None,
        returned: Callable[[T], int] = lambda _: 0,
        gave: Callable[[T], str] = lambda _: "",
        of: Callable[[T], RecordedSocket | None] = lambda _: None,
    ) -> T:
        """Make the call *do* on *sock* (or on the socket of *fd*), and record it.

        From the result of *do*, *returned* makes the value that C's function returns, *gave* what
        it stores through a pointer, and *of* the socket that it created. An error is recorded and
        raised unchanged.
        """
        if sock is None and fd is not None:
            sock = self._sockets.get(fd)
        asked = tuple(str(argument) for argument in arguments)
        whose = fd if sock is None else sock.fileno()
        row = Draft(
            name,
            asked,
            self.part,
            whose,
            inode(whose),
            view(sock) if name == "close" else None,
            self._take_note(),
        )
        if name == "send":
            row.records, self.records = self.records, ()
        row.blocks = name in _MAY_BLOCK and "MSG_DONTWAIT" not in asked
        if name in _AS_THE_SOCKET and sock is not None and sock.gettimeout() == 0:
            row.blocks = False
        self.sink.begin(row.make(None))
        slept, row.called = switches(), time.monotonic_ns()
        try:
            result = do()
        except OSError as error:
            row.over(slept, self.sink)
            unknown = isinstance(error, socket.gaierror)
            row.error = symbols.resolver(error.errno) if unknown else symbols.error(error.errno)
            self._report(row, (error.errno or 0) if unknown else -1, sock)
            raise
        except BaseException:  # a signal's handler raised
            row.over(slept, self.sink)
            row.error = "EINTR"
            self._report(row, -1, sock)
            raise
        row.over(slept, self.sink)
        row.part = self.part  # a different one in a child just forked
        row.gave = gave(result)[:_LONGEST]
        if (made := of(result)) is not None:
            self._sockets[made.fileno()] = made
            if name == "socket":
                sock, row.fd, row.inode = made, made.fileno(), inode(made.fileno())
        self._report(row, returned(result), sock)
        return result

    def _report(self, row: Draft, returned: int, sock: RecordedSocket | None) -> None:
        after = None if sock is None or sock.fileno() < 0 else view(sock)
        row.looked = time.monotonic_ns()
        self.sink.row(row.make(returned, after, ends(self.port, self._old), self._holds()))

    def _holds(self) -> tuple[tuple[int, int], ...]:
        return (
            () if self.port is None else tuple(one for one in holds() if one not in self._inherited)
        )

    def _take_note(self) -> str:
        note, self.note = self.note, ""
        return note

    # The calls that replace the plain ones

    def open(self, family: int, kind: int, protocol: int) -> socket.socket:
        return self.call(
            "socket",
            (
                symbols.one(family, symbols.FAMILIES),
                symbols.one(kind, symbols.KINDS),
                protocol and symbols.one(protocol, symbols.PROTOCOLS),
            ),
            lambda: RecordedSocket(self, family, kind, protocol),
            returned=lambda made: made.fileno(),
            of=lambda made: made,
        )

    def accept(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        made, where = self.call(
            "accept",
            (listener.fileno(), "&addr", "&len"),
            lambda: typing.cast(RecordedSocket, listener).take(),
            fd=listener.fileno(),
            returned=lambda one: one[0].fileno(),
            gave=lambda one: symbols.sockaddr(one[1]),
            of=lambda one: one[0],
        )
        return made, where

    def read(self, fd: int, size: int) -> bytes:
        return self.call(
            "read",
            (fd, "buf", size),
            lambda: os.read(fd, size),
            fd=fd,
            returned=len,
            gave=symbols.came,
        )

    def write(self, fd: int, data: bytes | bytearray | memoryview) -> int:
        return self.call(
            "write",
            (fd, symbols.text(data), len(data)),
            lambda: os.write(fd, data),
            fd=fd,
            returned=lambda n: n,
        )

    def poll(self) -> Poller:
        return RecordedPoll(self)

    def epoll(self) -> select.epoll:
        return typing.cast(select.epoll, RecordedEpoll(self))  # which cannot be inherited from

    def select(self, fds: list[int]) -> list[int]:
        """select(2) for reading, without a timeout."""
        named = "{" + ", ".join(map(str, fds)) + "}"
        ready, _, _ = self.call(
            "select",
            (max(fds) + 1, named, "NULL", "NULL", "NULL"),
            lambda: select.select(fds, [], []),
            returned=lambda found: len(found[0]),
            gave=lambda found: "{" + ", ".join(map(str, found[0])) + "}",
        )
        return ready

    def getaddrinfo(
        self,
        host: str | None,
        port: str,
        family: int = 0,
        kind: int = 0,
        protocol: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        kinds = symbols.one(family, symbols.FAMILIES), symbols.one(kind, symbols.KINDS)
        hints = f"{{{', '.join((symbols.of_addrinfo(flags), *kinds))}}}"
        return self.call(
            "getaddrinfo",
            ("NULL" if host is None else f'"{host}"', f'"{port}"', hints, "&list"),
            lambda: typing.cast(
                list[tuple[int, int, int, str, tuple[str, int]]],
                socket.getaddrinfo(host, port, family, kind, protocol, flags),
            ),
            gave=lambda found: ", ".join(symbols.sockaddr(each[4]) for each in found),
        )

    def getnameinfo(self, sockaddr: tuple[str, int], flags: int = 0) -> tuple[str, str]:
        return self.call(
            "getnameinfo",
            (symbols.sockaddr(sockaddr), "host", "port", symbols.of_nameinfo(flags)),
            lambda: socket.getnameinfo(sockaddr, flags),
            gave=lambda found: f'"{found[0]}", "{found[1]}"',
        )

    # Processes and signals

    def fork(self) -> int:
        def do() -> int:
            pid = os.fork()
            if pid == 0:
                self.forked()
            return pid

        return self.call("fork", (), do, returned=lambda pid: pid)

    def waitpid(self, pid: int) -> int:
        """Reap the child *pid*; its status, as os.waitstatus_to_exitcode returns it."""
        _, status = self.call(
            "waitpid",
            (pid, "&status", 0),
            lambda: os.waitpid(pid, 0),
            returned=lambda found: found[0],
            gave=lambda found: ended(os.waitstatus_to_exitcode(found[1])),
        )
        return os.waitstatus_to_exitcode(status)

    def kill(self, pid: int, number: signal.Signals) -> None:
        self.call("kill", (pid, number.name), lambda: os.kill(pid, number))

    def signal(
        self, number: signal.Signals, handler: Callable[[int, object], None] | signal.Handlers
    ) -> None:
        named = handler.name if isinstance(handler, signal.Handlers) else "handler"
        self.call("signal", (number.name, named), lambda: signal.signal(number, handler))

    def exit(self, code: int) -> typing.NoReturn:
        row = Draft("exit", (str(code),), self.part, None, 0, None, self._take_note())
        row.ended = row.began
        self.sink.begin(row.make(None))
        self.sink.returned()
        self.sink.row(row.make(None))
        os._exit(code)
