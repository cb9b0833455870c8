"""Robust I/O on one socket, after the RIO package of CS:APP (section 10.5).

A read(2) on a socket returns what happens to be there, a write(2) takes what happens to fit: short counts. Rio's
functions go on until they have what was asked for. There is one buffer, and every read goes through it, so that lines
and binary data may be mixed (CS:APP's rio_readn beside a buffered read loses what the buffer holds).

The rules, kept by every method:

- b"" means end of file, and nothing else does.
- Whatever ends a read (a deadline, a stop, a reset), the bytes that came before it stay in the buffer, and the next
  read begins with them.
- With a deadline or a stop, no call waits past them: poll(2) waits, and the read or write after it does not block.
  With neither, the read or write itself blocks, as in the book.

A failed write leaves unknown how much the peer got: the connection is then good for abort() or close() only.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
import typing
from collections.abc import Callable, Iterator

from .errors import DeadlineError, IncompleteRead, Stopped
from .stop import Stop, milliseconds

LINE = 8192  # CS:APP's MAXLINE
_LEAST, _MOST = 8192, 65536  # bytes asked of the kernel in one read: CS:APP's RIO_BUFSIZE, and what a busy peer fills


class Poller(typing.Protocol):
    """What select.poll() gives."""

    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def poll(self, timeout: int | None, /) -> list[tuple[int, int]]: ...


def reset(sock: socket.socket) -> None:
    """Close with a reset instead of an end of file: SO_LINGER of 0 seconds (socket(7)); nothing if it is closed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Rio:
    """Robust reads and writes on the connected stream socket *sock*, which it owns from here on.

    *deadline* is a time of time.monotonic() that no wait passes (DeadlineError), *stop* ends any wait (Stopped); both
    may be set anew between calls. *poll* makes the poller.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        deadline: float | None = None,
        stop: Stop | None = None,
        poll: Callable[[], Poller] = select.poll,
    ) -> None:
        if sock.gettimeout() is not None:
            sock.setblocking(True)
        self.sock = sock
        self.deadline = deadline
        self.stop = stop
        self._buffer = bytearray()
        self._poll = poll
        self._poller: Poller | None = None
        self._others: tuple[int, ...] = ()  # what the poller watches besides the socket

    # Reading

    def readn(self, n: int) -> bytes:
        """Read *n* bytes; fewer only at end of file (rio_readn)."""
        while len(self._buffer) < n and self._fill(n - len(self._buffer)):
            pass
        return self._take(n)

    readnb = readn  # rio_readnb: with one buffer there is no other kind

    def readexactly(self, n: int) -> bytes:
        """Read *n* bytes. Raises IncompleteRead, which carries what came, if the end of file is nearer."""
        data = self.readn(n)
        if len(data) < n:
            raise IncompleteRead(data, n)
        return data

    def readline(self, limit: int = LINE) -> bytes:
        """Read a line with its newline (rio_readlineb).

        A line over *limit* bytes comes in pieces of *limit*. What the end of file cuts off comes without a newline.
        NUL, CR and every other byte are only bytes.
        """
        if limit < 1:
            raise ValueError(f"a line's limit is at least 1, not {limit}")
        searched = 0
        while True:
            newline = self._buffer.find(b"\n", searched, limit)
            if newline >= 0:
                return self._take(newline + 1)
            if len(self._buffer) >= limit:
                return self._take(limit)
            searched = len(self._buffer)
            if not self._fill(_LEAST):
                return self._take(searched)

    def read(self, max: int = _MOST) -> bytes:
        """Read what is there, at least one byte and at most *max*; wait only if nothing is."""
        if max < 1:
            raise ValueError(f"at least 1 byte has to be asked for, not {max}")
        return self._take(max) if self._buffer else self._recv(min(max, _MOST))

    def __iter__(self) -> Iterator[bytes]:
        """The lines until end of file, each as from readline()."""
        return iter(self.readline, b"")

    def _take(self, n: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:n])
        del self._buffer[:n]
        return data

    def _fill(self, wanted: int) -> bool:
        """Read once into the buffer; False at end of file."""
        data = self._recv(min(max(wanted, _LEAST), _MOST))
        self._buffer += data
        return bool(data)

    def _recv(self, size: int) -> bytes:
        while self._patient():
            self._wait(select.POLLIN)
            with contextlib.suppress(BlockingIOError):  # poll(2), BUGS: readiness may be spurious
                return self.sock.recv(size, socket.MSG_DONTWAIT)
        return self.sock.recv(size)

    # Writing

    def writen(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of *data* (rio_writen): send(2) may take less, when the peer reads slowly."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self._send(left) :]

    def _send(self, data: memoryview) -> int:
        while self._patient():
            with contextlib.suppress(BlockingIOError):
                return self.sock.send(data, socket.MSG_DONTWAIT)
            self._wait(select.POLLOUT)
        return self.sock.send(data)

    # Waiting

    def _patient(self) -> bool:
        """Whether waits have to be ours rather than the kernel's."""
        return self.deadline is not None or self.stop is not None

    def _wait(self, mask: int) -> None:
        """Until the socket is ready. Raises Stopped or DeadlineError, the stop first, both before readiness."""
        left = None if self.deadline is None else self.deadline - time.monotonic()
        stop = () if self.stop is None else (self.stop.fileno(),)
        ready = self._ready(mask, left, stop)
        if stop and stop[0] in ready:
            raise Stopped("stopped")
        if left is not None and (left <= 0 or self.sock.fileno() not in ready):
            raise DeadlineError("the deadline passed")

    def _ready(self, mask: int, timeout: float | None, others: tuple[int, ...] = ()) -> list[int]:
        """Poll the socket for *mask* and *others* to be readable or hung up, *timeout* seconds: those that are ready."""
        if self._poller is None or others != self._others:
            self._poller, self._others = self._poll(), others
            self._poller.register(self.sock.fileno(), mask)
            for fd in others:
                self._poller.register(fd, select.POLLIN)
        else:
            self._poller.modify(self.sock.fileno(), mask)
        return [fd for fd, _ in self._poller.poll(milliseconds(timeout))]

    # Ending

    def shutdown(self) -> None:
        """Send the end of file after what was written; reading goes on. A connection already gone is no error."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Reset the connection: what was not yet sent or read is lost, on both ends (SO_LINGER of 0, then close)."""
        reset(self.sock)

    def close(self) -> None:
        """Close the socket; any number of times."""
        self.sock.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
