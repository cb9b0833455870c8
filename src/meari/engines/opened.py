"""A connection of the event engine."""

from __future__ import annotations

import errno
import math
import os
import socket

from ..address import Address
from ..events import Events, Kind
from ..net import kernel
from ..wire.protocol import Connection, Protocol, Span

# Bytes of a file sent in one turn, so that other connections get theirs.
_SPAN = 1 << 20
# Bytes of a file read at once, where it cannot be sent by the kernel.
_PIECE = 1 << 16
_SHORT = "the file is shorter than what was to be sent of it"
# Bytes of the first read.
FIRST = 4096
# The states of a connection (event.py).
READING, WRITING, SPLICING, LINGERING, PAUSED = range(5)


def size(out: bytes | memoryview | Span) -> int:
    """The number of bytes to send."""
    return out.count if isinstance(out, Span) else len(out)


def send(fd: int, out: bytes | memoryview | Span) -> int:
    """Send some of *out*, as much as is taken now; how many bytes.

    Raises OSError, EIO for a file that is too short.
    """
    if not isinstance(out, Span):
        return kernel.write(fd, out)
    sent = os.sendfile(fd, out.fd, out.offset, min(out.count, _SPAN))
    if not sent:
        raise OSError(errno.EIO, _SHORT)
    return sent


def first(span: Span) -> bytes:
    """Read the first bytes of *span*. Raises OSError, EIO for a file that is too short."""
    data = os.pread(span.fd, min(span.count, _PIECE), span.offset)
    if not data:
        raise OSError(errno.EIO, _SHORT)
    return data


def rest(out: bytes | memoryview | Span, sent: int) -> memoryview | Span:
    """What is left of *out* after so many bytes of it."""
    if isinstance(out, Span):
        return Span(out.fd, out.offset + sent, out.count - sent)
    return memoryview(out)[sent:]


class Open(Connection):
    """A connection that is open, and where it is in its life."""

    __slots__ = (
        "began",
        "detail",
        "ended",
        "ending",
        "kind",
        "left",
        "moved",
        "protocol",
        "size",
        "sock",
        "state",
        "until",
        "watch",
    )

    def __init__(self, sock: socket.socket, peer: Address, events: Events, now: float) -> None:
        super().__init__(peer, events)
        self.sock = sock
        self.began = self.moved = now
        # Bytes of the next read.
        self.size = FIRST
        # Pending output: sent before more is read.
        self.left: bytes | memoryview | Span = b""
        # The connection ends when pending output is sent.
        self.ending = False
        # The peer's FIN has been received.
        self.ended = False
        self.watch: int | None = None  # the descriptor that its protocol waits for (Watches)
        self.until = math.inf  # when lingering is over, or the protocol's wake() is due
        self.kind, self.detail = Kind.CLOSED, ""
        self.state = READING
        self.protocol: Protocol
