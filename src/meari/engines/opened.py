"""A connection of the event engine."""

from __future__ import annotations

import math
import socket

from ..address import Address
from ..events import Events, Kind
from ..wire.protocol import Connection, Protocol, Span

FIRST = 4096  # bytes of the first read
READING, WRITING, LINGERING = range(3)  # the states of a connection


def size(out: bytes | memoryview | Span) -> int:
    """How many bytes are to be sent."""
    return out.count if isinstance(out, Span) else len(out)


def rest(out: bytes | memoryview | Span, sent: int) -> memoryview | Span:
    """What is left of *out* after so many bytes of it."""
    if isinstance(out, Span):
        return Span(out.fd, out.offset + sent, out.count - sent)
    return memoryview(out)[sent:]


class Open(Connection):
    """A connection that is open, and where it is in its life."""

    __slots__ = ("began", "detail", "ended", "ending", "kind", "left", "moved", "protocol", "size", "sock", "state", "until")

    def __init__(self, sock: socket.socket, peer: Address, events: Events, now: float) -> None:
        super().__init__(peer, events)
        self.sock = sock
        self.began = self.moved = now
        self.size = FIRST  # of the next read
        self.left: bytes | memoryview | Span = b""  # to be sent before more is read
        self.ending = False  # once that is written, it is over
        self.ended = False  # the peer's FIN came
        self.until = math.inf  # when lingering is over, or the protocol's wake() is due
        self.kind, self.detail = Kind.CLOSED, ""  # how its end is told
        self.state = READING
        self.protocol: Protocol
