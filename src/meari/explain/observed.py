"""What the kernel reports about a call: its wait, the socket's state, and the open descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import resource
import signal
import socket
import struct
import termios
import threading
import time
import typing
from collections.abc import Collection

from ..sock_diag import STATES
from ..sockets import tcp_info, unsent
from .recorded import RecordedSocket
from .row import Entry, Record, Row, View
from .table import WITH_FIN, table

T = typing.TypeVar("T")

# Lines of a table: a row goes through a pipe in one piece.
_MOST = 12


class Sink(typing.Protocol):
    """The receiver of rows."""

    def begin(self, row: Row) -> None:
        """A call is about to be made; *row* has no result yet."""

    def returned(self) -> None:
        """The call has returned; the socket's state is not read yet."""

    def row(self, row: Row) -> None:
        """The complete row."""


class Draft:
    """A row under construction."""

    __slots__ = (
        "arguments",
        "before",
        "began",
        "blocks",
        "called",
        "ended",
        "error",
        "fd",
        "gave",
        "inode",
        "looked",
        "name",
        "note",
        "part",
        "records",
        "waited",
    )

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        part: str,
        fd: int | None,
        inode: int,
        before: View | None,
        note: str,
    ) -> None:
        self.name, self.arguments, self.part, self.fd, self.inode = name, arguments, part, fd, inode
        self.before, self.note = before, note
        self.began = time.monotonic_ns()
        self.called = self.ended = self.waited = self.looked = 0
        self.blocks = False
        self.error: str | None = None
        self.gave = ""
        self.records: tuple[Record, ...] = ()

    def over(self, slept: int, sink: Sink) -> None:
        """Note the return, and whether the call blocked: the thread's count of switches has grown
        since *slept*. (It also grows when the thread waits for the GIL after the call; so only
        calls that can block are considered.)
        """
        self.ended = time.monotonic_ns()
        self.waited = self.ended - self.called if self.blocks and switches() > slept else 0
        sink.returned()

    def make(
        self,
        returned: int | None,
        after: View | None = None,
        entries: tuple[Entry, ...] | None = None,
        holds: tuple[tuple[int, int], ...] = (),
    ) -> Row:
        return Row(
            self.name,
            self.arguments,
            returned,
            self.error,
            self.gave,
            self.began,
            self.ended,
            self.waited,
            os.getpid(),
            threading.get_native_id(),
            self.part,
            self.fd,
            self.inode,
            self.before,
            after,
            entries,
            self.looked,
            holds,
            self.note,
            self.records,
        )


def switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def ended(code: int) -> str:
    """The end of a process: "exited with 0", "killed by SIGPIPE"."""
    return f"exited with {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def ends(port: int | None, old: Collection[tuple[str, str]]) -> tuple[Entry, ...] | None:
    """The kernel's table of the sockets on *port* without the *old* ones; None if there is no port
    or no table.
    """
    try:
        return (
            None
            if port is None
            else tuple(
                itertools.islice(
                    (end for end in table(port) if (end.local, end.remote) not in old), _MOST
                )
            )
        )
    except OSError:
        return None


def inode(fd: int | None) -> int:
    """The inode number of a descriptor; 0 for none."""
    with contextlib.suppress(OSError):
        return 0 if fd is None or fd < 0 else os.fstat(fd).st_ino
    return 0


def holds() -> tuple[tuple[int, int], ...]:
    """The open sockets of this process, from /proc: (descriptor, inode)."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            kind, _, rest = os.readlink(f"/proc/self/fd/{name}").partition(":")
            if kind == "socket":
                found.append((int(name), int(rest[1:-1])))
    return tuple(sorted(found))


def view(sock: RecordedSocket | None) -> View | None:
    """The state of *sock* now; None if it has none."""
    if sock is None or sock.fileno() < 0 or sock.type != socket.SOCK_STREAM:
        return None
    try:
        info = tcp_info(sock)
        state = STATES.get(info.state, str(info.state))
        if state == "LISTEN":
            return View(state, queue=info.unacked, limit=info.sacked)
        unread = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))[0]
        left = unsent(sock)
        return View(
            state, unread, None if state == "CLOSED" else left - (left > 0 and state in WITH_FIN)
        )
    except OSError:
        return None
