"""Robust I/O on one socket, after the RIO package of CS:APP (section 10.5).

A read(2) on a socket returns the bytes that are there, a write(2) accepts the bytes that fit: short
counts. Rio's functions continue until they have the requested number. Every read goes through one
buffer, so lines and binary data can be mixed (CS:APP's rio_readn beside a buffered read loses the
bytes in the buffer).

Every method keeps these rules:

- b"" means end of file, and nothing else does.
- If a deadline, a stop or a reset ends a read, the bytes received before it stay in the buffer, and
  the next read begins with them.
- With a deadline or a stop, no call waits past them: poll(2) waits, and the read or write after it
  does not block. With neither, the read or write itself blocks, as in the book.

After a failed write it is unknown how much the peer received: the connection is then good for
abort() or close() only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
import typing
from collections.abc import Callable, Iterator

from .errors import DeadlineError, IncompleteRead, Stopped
from .sockets import reset
from .stop import Stop, milliseconds
from .wire.layer import Layer

LINE = 8192  # CS:APP's MAXLINE
_SHORT = "the file is shorter than what was to be sent of it"
# Bytes asked of the kernel in one read: CS:APP's RIO_BUFSIZE, and what a busy peer fills.
_LEAST, _MOST = 8192, 65536


class Poller(typing.Protocol):
    """The object that select.poll() returns."""

    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def poll(self, timeout: int | None, /) -> list[tuple[int, int]]: ...


# Waits until a socket is ready for a mask (True), or another descriptor, if given, can be read.
Wait = Callable[[int, float | None, int | None], bool]


class Readiness:
    """Waits with poll(2) until *sock* is ready, or one of some other descriptors.

    *poll* makes the poller.
    """

    def __init__(self, sock: socket.socket, poll: Callable[[], Poller] = select.poll) -> None:
        self._sock, self._poll = sock, poll
        self._poller: Poller | None = None
        self._others: tuple[int, ...] = ()  # what the poller watches besides the socket

    def wait(self, mask: int, timeout: float | None, others: tuple[int, ...] = ()) -> list[int]:
        """Return the descriptors that are ready within *timeout* seconds: *others* are if they can
        be read or hung up.
        """
        if self._poller is None or others != self._others:
            self._poller, self._others = self._poll(), others
            self._poller.register(self._sock.fileno(), mask)
            for fd in others:
                self._poller.register(fd, select.POLLIN)
        else:
            self._poller.modify(self._sock.fileno(), mask)
        return [fd for fd, _ in self._poller.poll(milliseconds(timeout))]


class Rio:
    """Robust reads and writes on the connected stream socket *sock*, which it owns from here on.

    *deadline* is a time of time.monotonic() that no wait passes (DeadlineError), *stop* ends any
    wait (Stopped); both may be set anew between calls. *wait*, if given, replaces that patience: it
    is called with POLLIN or POLLOUT and the deadline, and returns once the socket is ready, or
    raises. *poll* makes the poller. With a *layer* (TLS) handshake() comes first, and its errors
    are a ConnectionError.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        deadline: float | None = None,
        stop: Stop | None = None,
        wait: Wait | None = None,
        layer: Layer | None = None,
        poll: Callable[[], Poller] = select.poll,
    ) -> None:
        if sock.gettimeout() is not None:
            sock.setblocking(True)
        self.sock = sock
        self.deadline = deadline
        self.stop = stop
        self.ended = False  # the end of file was read
        self.layer = layer
        self._buffer = bytearray()
        self._wait = wait or self._until_ready
        self._patient = wait is not None  # waits are ours in any case, not the kernel's
        self._readiness = Readiness(sock, poll)

    # Reading

    def readn(self, n: int) -> bytes:
        """Read *n* bytes; fewer only at end of file (rio_readn)."""
        while len(self._buffer) < n and self._fill(n - len(self._buffer)):
            pass
        return self._take(n)

    readnb = readn  # rio_readnb: with one buffer there is no other kind

    def readexactly(self, n: int) -> bytes:
        """Read *n* bytes.

        Raises IncompleteRead, with the bytes received, if the end of file comes earlier.
        """
        data = self.readn(n)
        if len(data) < n:
            raise IncompleteRead(data, n)
        return data

    def readline(self, limit: int = LINE) -> bytes:
        """Read a line with its newline (rio_readlineb).

        A line over *limit* bytes comes in pieces of *limit*. What the end of file cuts off comes
        without a newline. NUL, CR and every other byte are only bytes.
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
        """Read the available bytes, at least one and at most *max*; wait only if there are none."""
        if max < 1:
            raise ValueError(f"at least 1 byte has to be asked for, not {max}")
        if self._buffer:
            return self._take(max)
        data = self._recv(min(max, _MOST))
        if len(data) > max:  # a layer returns all that it has
            self._buffer += data[max:]
            data = data[:max]
        return data

    def unread(self, data: bytes) -> None:
        """Give back what was read: the next read begins with it."""
        self._buffer[:0] = data

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
        return self._recv_wire(size) if self.layer is None else self._recv_layered(self.layer)

    def _recv_layered(self, layer: Layer) -> bytes:
        while layer.error is None and not layer.ended:
            wire = self._recv_wire(_MOST)
            data = layer.feed(wire) if wire else b""
            if not wire:
                layer.eof()
            self._send_layer(layer)
            if data:
                return data
            if not layer.ready and not wire:
                break
        if layer.error is not None:
            raise layer.error
        self.ended = True
        return b""

    def handshake(self) -> None:
        """Let the layer shake hands, if there is one. Raises its error, and what a read raises."""
        layer = self.layer
        if layer is None:
            return
        self._send_all(layer.take())
        while not layer.ready and layer.error is None:
            wire = self._recv_wire(_MOST)
            if wire:
                self._buffer += layer.feed(wire)
            else:
                layer.eof()
            self._send_layer(layer)
        if layer.error is not None:
            raise layer.error

    def _send_layer(self, layer: Layer) -> None:
        """Send what the layer has to send; an alert that nobody takes any more is no news beside
        the layer's error.
        """
        with contextlib.suppress(*((OSError,) if layer.error is not None else ())):
            self._send_all(layer.take())

    def _recv_wire(self, size: int) -> bytes:
        data = self._recv_ready(size) if self._waits() else self.sock.recv(size)
        self.ended = not data
        return data

    def _recv_ready(self, size: int) -> bytes:
        while True:
            self._wait(select.POLLIN, self.deadline, None)
            with contextlib.suppress(BlockingIOError):  # poll(2), BUGS: readiness may be spurious
                return self.sock.recv(size, socket.MSG_DONTWAIT)

    # Writing

    def writen(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of *data* (rio_writen): send(2) may take less, when the peer reads slowly."""
        if self.layer is None:
            self._send_all(data)
            return
        self.layer.send(bytes(data))
        self._send_all(self.layer.take())
        if self.layer.error is not None:
            raise self.layer.error

    def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data).cast("B")
        while left:
            left = left[self._send(left) :]

    def _send(self, data: memoryview) -> int:
        while self._waits():
            with contextlib.suppress(BlockingIOError):
                return self.sock.send(data, socket.MSG_DONTWAIT)
            self._wait(select.POLLOUT, self.deadline, None)
        return self.sock.send(data)

    def sendfile(self, fd: int, offset: int, count: int) -> None:
        """Send *count* bytes of the file open as *fd*, from *offset* on, without copying them
        (sendfile(2)).

        Raises OSError (EIO) if the file ends before; what was sent then is unknown, as after any
        failed write. With a layer the bytes are read, and go through it.
        """
        if self.layer is not None:
            while count:
                piece = os.pread(fd, min(count, _MOST), offset)
                if not piece:
                    raise OSError(errno.EIO, _SHORT)
                self.writen(piece)
                offset, count = offset + len(piece), count - len(piece)
            return
        self.sock.setblocking(False)
        try:
            while count:
                try:
                    sent = os.sendfile(self.sock.fileno(), fd, offset, min(count, 1 << 30))
                except BlockingIOError:
                    self._wait(select.POLLOUT, self.deadline, None)
                    continue
                if not sent:
                    raise OSError(errno.EIO, _SHORT)
                offset, count = offset + sent, count - sent
        finally:
            self.sock.setblocking(True)

    # Waiting

    def wait(self, *, reads: bool, watch: int | None) -> bool:
        """Wait until the connection can be read, or is reset (True); or until *watch* can be read.
        Without *reads* only a reset counts.

        Raises the same exceptions as a read.
        """
        if reads and self._buffer:
            return True
        return self._wait(select.POLLIN if reads else 0, self.deadline, watch)

    def _waits(self) -> bool:
        """True if waits have to be ours rather than the kernel's."""
        return self._patient or self.deadline is not None or self.stop is not None

    def _until_ready(self, mask: int, deadline: float | None, watch: int | None) -> bool:
        """Wait until the socket is ready, or *watch*.

        Raises Stopped or DeadlineError, the stop first, both before readiness.
        """
        left = None if deadline is None else deadline - time.monotonic()
        stop = -1 if self.stop is None else self.stop.fileno()
        others = tuple(fd for fd in (stop, watch) if fd is not None and fd >= 0)
        ready = self._readiness.wait(mask, left, others)
        if stop in ready:
            raise Stopped("stopped")
        if left is not None and (left <= 0 or not ready):
            raise DeadlineError("the deadline passed")
        return self.sock.fileno() in ready

    # Ending

    def shutdown(self) -> None:
        """Send the end of file after what was written; reading goes on.

        A connection already gone is no error.
        """
        with contextlib.suppress(OSError):
            if self.layer is not None:
                self.layer.close()
                self._send_all(self.layer.take())
            self.sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Reset the connection: what was not yet sent or read is lost, on both ends (SO_LINGER of
        0, then close).
        """
        reset(self.sock)

    def close(self) -> None:
        """Close the socket; any number of times."""
        self.sock.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
