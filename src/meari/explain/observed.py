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

from ..sockets import tcp_info, unsent
from .recorded import RecordedSocket
from .row import Entry, Record, Row, View
from .table import STATES, WITH_FIN, table

T = typing.TypeVar("T")

# Characters of what a call gave, ends in a table: a row goes through a pipe in one piece.
_LONGEST, _MOST = 500, 12


# Calls that can block; the first only on a blocking socket.
_AS_THE_SOCKET = frozenset({"accept", "connect", "recv", "send", "read", "write"})


class Sink(typing.Protocol):
    """Where rows go."""

    def begin(self, row: Row) -> None:
        """A call is about to be made: as far as it is known."""

    def returned(self) -> None:
        """It has returned; what is seen of it is still to be asked of the kernel."""

    def row(self, row: Row) -> None:
        """What it returned, and what the kernel says."""


class Draft:
    """A row that is being made."""

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
        """It has returned: whether it had to wait shows in the thread's own count, *slept* before
        it. (That grows as well when a thread waits for Python's lock, after the call; so no other
        call is taken for one that waited.)
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
    """How a process ended: "exited with 0", "killed by SIGPIPE"."""
    return f"exited with {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def ends(port: int | None, old: Collection[tuple[str, str]]) -> tuple[Entry, ...] | None:
    """The table of the ends on *port*, but those that are *old*; None if there is no port, or the
    kernel does not tell.
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
    """The kernel's number for what a descriptor is open on; 0 for none."""
    with contextlib.suppress(OSError):
        return 0 if fd is None or fd < 0 else os.fstat(fd).st_ino
    return 0


def holds() -> tuple[tuple[int, int], ...]:
    """The sockets that this process has open, as /proc tells: (descriptor, inode)."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            kind, _, rest = os.readlink(f"/proc/self/fd/{name}").partition(":")
            if kind == "socket":
                found.append((int(name), int(rest[1:-1])))
    return tuple(sorted(found))


def view(sock: RecordedSocket | None) -> View | None:
    """What the kernel says of *sock* now, or None if it has nothing to say."""
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
