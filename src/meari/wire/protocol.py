"""The types between an engine and what it serves.

An engine moves bytes; a Protocol says which. Neither knows the other: the same Protocol runs on every engine, and
under a test that feeds it one byte at a time.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from ..address import Address


class Protocol(typing.Protocol):
    """One end of one connection, with no I/O: bytes in, bytes out. A class derived from this one needs only receive().

    One that raises is at fault, and its connection, no other, is reset.
    """

    done: bool = False  # flush what was returned last, then close
    error: Exception | None = None  # told as the connection's end, after that flush
    set_up_within: float | None = None  # seconds after accept by which it must be set up; None once it is
    reflects: bool = False  # receive() returns what it is given, each read is a message, and it is never done by itself: an
    # engine may then do without receive(), and counts the messages; else receive() calls Connection.received

    def start(self) -> bytes:  # what to say first; b"" for an echo
        return b""

    def receive(self, data: bytes, /) -> bytes: ...  # what to send now; b"" for nothing

    def finish(self) -> bytes:  # the peer will send no more: the last bytes to send
        return b""


class Meter(typing.Protocol):
    """Who is told of a connection's messages."""

    def connected(self, connection: Connection, /) -> None: ...
    def received(self, connection: Connection, n: int, /) -> None: ...


class Connection:
    """What is known about a connection, apart from its bytes."""

    __slots__ = ("_meter", "admitted", "bytes", "messages", "peer", "reported", "reported_bytes", "via")

    def __init__(self, peer: Address, meter: Meter) -> None:
        self.peer = peer  # as announced, once something announced it
        self.via: Address | None = None  # who carried it here, then
        self.admitted = False  # a service has taken it
        self.messages = self.bytes = 0  # that came, in all
        self.reported = self.reported_bytes = 0  # of those, told or summed up by the meter
        self._meter = meter

    def connected(self) -> None:
        """A service has taken this connection: told."""
        self.admitted = True
        self._meter.connected(self)

    def received(self, n: int) -> None:
        """One application message of *n* bytes came: counted, told."""
        self._meter.received(self, n)


Service = Callable[[Connection], Protocol]  # one a listener, a new Protocol for each connection; may raise Refused
