"""One connected non-blocking stream: the near end's only driver of a socket.

Three properties of the kernel are handled here, and nowhere else:

- A failed write reports its error once, and the next read returns end of file. So the error is
  kept, and read() reports it as the reason of the end.
- After a failed write, received data is still read; nothing more is written.
- Our FIN is sent when all earlier output is sent, and after the layer's own end (close_notify).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import ConnectError, Stopped
from .net import OF_CAPACITY, Endpoint, connect, kernel
from .sockets import reset
from .stop import Stop, milliseconds
from .wire.layer import Layer, Truncated

FIN, RESET = "FIN", "RST"  # how a peer ends it; else `end` is what the kernel or the layer calls it
PIECE = 65536  # bytes read, or written through a layer, at once
_ROUNDS = 16  # reads at most that yield nothing but the layer's own records


class Channel:
    """The connected socket *sock*, which it owns from here on, and *layer* over it.

    read() and write() never wait: mask() says what to poll for. *end* is how the peer ended the
    connection (FIN, RESET, or a reason in words), None until then.
    """

    __slots__ = ("_ending", "_out", "_read", "end", "failed", "layer", "sock")

    def __init__(self, sock: socket.socket, layer: Layer | None = None) -> None:
        sock.setblocking(False)
        self.sock, self.layer = sock, layer
        self.end: str | None = None
        self.failed: int | None = None  # the errno of a write: nothing more is sent
        self._read = b""  # was read too early
        self._out: memoryview | bytes = b""  # of the layer, not yet taken by the kernel
        self._ending = False  # our end follows it
        if layer is not None:
            self._take()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def ready(self) -> bool:
        """True if data may flow: the layer's handshake is over."""
        return self.layer is None or self.layer.ready

    @property
    def truncated(self) -> bool:
        """True if the peer sent its FIN without the layer's own end (close_notify)."""
        return self.layer is not None and isinstance(self.layer.error, Truncated)

    @property
    def pending(self) -> bool:
        """True if the layer still has something to send: poll for room to write, and flush()."""
        return bool(self._out)

    @property
    def waiting(self) -> bool:
        """True if a read() has something to say though poll(2) may not: do not wait before it."""
        layer = self.layer
        return bool(self._read) or (
            self.end is None and layer is not None and (layer.ended or layer.error is not None)
        )

    def mask(self, *, reading: bool, writing: bool) -> int:
        """Return what to poll for: 0 once the peer has ended it.

        *reading*, *writing*: what the caller would do.
        """
        if self.end is not None:
            return 0
        writing = (writing and self.ready and self.failed is None) or bool(self._out)
        # POLLERR comes unasked: it stands for "watched".
        return (select.POLLIN if reading or not self.ready else select.POLLERR) | (
            select.POLLOUT if writing else 0
        )

    # Reading

    def read(self, n: int = PIECE) -> bytes | None:
        """Return at most *n* bytes, more with a layer; None if there are none now; b"" at the end,
        whose reason is `end`.
        """
        if self._read:
            data, self._read = self._read, b""
            return data
        if self.end is not None:
            return b""
        return self._read_wire(n) if self.layer is None else self._read_layered(self.layer, n)

    def unread(self, data: bytes) -> None:
        """Give back what was read: the next read() returns it (`waiting`)."""
        self._read = data + self._read

    def _read_wire(self, n: int) -> bytes | None:
        try:
            data = kernel.read(self.sock.fileno(), n)
        except BlockingIOError:
            return None
        except OSError as error:
            self._over(error.errno)
            return b""
        if not data:
            self._over(self.failed)
        return data

    def _read_layered(self, layer: Layer, n: int) -> bytes | None:
        for _ in range(_ROUNDS):
            data = b"" if layer.ended or layer.error is not None else self._read_wire(n)
            if data is None:
                return None
            if data:
                plain = layer.feed(data)
                self._take()
                if plain:
                    return plain
            if not data or layer.ended or layer.error is not None:
                if self.end in (None, FIN):
                    layer.eof()
                    self.end = FIN if layer.error is None else str(layer.error)
                return b""
        return None

    def _over(self, error: int | None) -> None:
        self.end = (
            FIN
            if error is None
            else RESET
            if error in (0, errno.ECONNRESET, errno.EPIPE)
            else os.strerror(error)
        )

    def look(self) -> None:
        """Take an error that the kernel reports without a read; for a caller that does not read."""
        self._over(self.failed or self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    # Writing

    def message(self, size: int) -> None:
        """The next *size* bytes to be written are one message, to a layer that has messages."""
        if self.layer is not None:
            self.layer.message(size)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send some of *data*; how many bytes are accepted: they will be sent, unless the
        connection fails.
        """
        if self.failed is not None:
            return 0
        if self.layer is None:
            return self._write_wire(data)
        if not self.flush() or not self.layer.ready:
            return 0
        data = data[:PIECE]
        self.layer.send(bytes(data))
        self._take()
        return len(data)

    def _write_wire(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return kernel.write(self.sock.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in OF_CAPACITY:  # want of memory passes
                self.failed = error.errno or 0
            return 0

    def flush(self) -> bool:
        """Send what the layer still has to send; True if nothing is left."""
        while self._out and self.failed is None:
            sent = self._write_wire(self._out)
            if not sent:
                break
            self._out = memoryview(self._out)[sent:]
        if self.failed is not None:
            self._out = b""
        if not self._out and self._ending:
            self._ending = False
            with contextlib.suppress(OSError):  # gone: the next read says so
                self.sock.shutdown(socket.SHUT_WR)
        return not self._out

    def _take(self) -> None:
        """Send what the layer has to send now."""
        assert self.layer is not None
        if out := self.layer.take():
            self._out = bytes(self._out) + out if self._out else out
        self.flush()

    # Ending

    def half_close(self) -> None:
        """End our direction, once all that was written is sent: the layer's own end, and then our
        FIN.
        """
        self._ending = self.layer is None or self.layer.fin
        if self.layer is not None:
            self.layer.close()
            self._take()
        else:
            self.flush()

    def reset(self) -> None:
        """Close with a reset (SO_LINGER of 0)."""
        reset(self.sock)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reason(end: str | None) -> str:
    """Return how a connection ended, in words."""
    return {FIN: "the far end closed the connection", RESET: os.strerror(errno.ECONNRESET)}.get(
        end or FIN, end or ""
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A *channel* to *endpoint*: *connect* and *handshake* are the nanoseconds that the transport's
    and the layer's took.
    """

    channel: Channel
    endpoint: Endpoint
    connect: int
    handshake: int = 0


def open_channel(
    found: Sequence[Endpoint], timeout: float, stop: Stop | None = None, mss: int | None = None
) -> Opened:
    """Connect to the first of *found* that answers, and finish its layer's handshake.

    Raises as connect() does.
    """
    deadline = time.monotonic() + timeout
    sock, endpoint, took = connect(found, timeout, stop, mss)
    began = time.monotonic_ns()
    channel = Channel(sock)
    try:
        if endpoint.layer is not None:
            channel = Channel(sock, endpoint.layer())
        why = shake_hands(channel, deadline, stop)
    except ValueError as error:  # a host name that the layer does not take
        channel.close()
        raise ConnectError(
            f"cannot connect to {endpoint.address}: {error}", (f"{endpoint.address}: {error}",)
        ) from None
    except BaseException:
        channel.close()
        raise
    if why:
        channel.close()
        reason = f"{endpoint.address}: the handshake failed: {why}"
        raise ConnectError(f"cannot connect to {reason}", (reason,))
    return Opened(
        channel, endpoint, took, 0 if channel.layer is None else time.monotonic_ns() - began
    )


def shake_hands(channel: Channel, deadline: float, stop: Stop | None) -> str:
    """Why the layer is not ready by *deadline*, if it is not. Raises Stopped."""
    while not channel.ready:
        left = deadline - time.monotonic()
        if left <= 0:
            return "it was not over in time"
        poller = kernel.poll()
        poller.register(channel.fileno(), channel.mask(reading=True, writing=False))
        if stop is not None:
            poller.register(stop.fileno(), 0)
        ready = [fd for fd, _ in poller.poll(milliseconds(left))]
        if stop is not None and stop.fileno() in ready:
            raise Stopped("stopped")
        channel.flush()
        data = channel.read()
        if data:
            # Data that arrived with the end of the handshake.
            channel.unread(data)
        elif channel.end is not None:
            return reason(channel.end)
    return ""
