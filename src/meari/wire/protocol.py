"""The types between an engine and what it serves.

An engine moves bytes; a Protocol determines which. Neither knows the other: the same Protocol runs
on every engine, and under a test that feeds it one byte at a time. It does no I/O and has no clock:
it asks for a call of wake() in a number of seconds, and the engine keeps the time.

    accept   ->  start()                         the first output
    data     ->  receive(data)                   the output that answers it
    drained  ->  more(), until it returns b""    the next piece of a long output
    within   ->  wake()                          no other call came for so many seconds
    watch    ->  ready()                         a descriptor of the protocol's own can be read
    FIN      ->  eof()                           the peer's end; the last output
    our end  ->  close()                         the idle limit, or the drain after a stop

Output is sent completely before more is read, so what a peer does not take is bounded.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass

from ..address import Address


@dataclass(frozen=True, slots=True)
class Span:
    """*count* bytes of the file open as *fd*, from *offset* on; an engine sends them by
    sendfile(2).

    The protocol owns the descriptor: it stays open until the next call of the protocol, or its end.
    """

    fd: int
    offset: int
    count: int


class Protocol(typing.Protocol):
    """One end of one connection. A class derived from this one needs only receive().

    A protocol that raises is at fault: its connection, and no other, is reset.
    """

    # Send the output returned last, then close. An *error* is reported as the reason of the end.
    done: bool = False
    error: Exception | None = None
    # Seconds from the last call until wake() is due; None: never.
    within: float | None = None
    # Only together with `within`. False: nothing is read for now; neither the idle limit nor a
    # drain ends the connection before it is read again, or the drain limit has come.
    reads: bool = True
    # Only together with `within`. A descriptor: once it can be read, ready() is called. An epoll
    # stands for several. The protocol owns it.
    watch: int | None = None
    # receive() returns what it is given, each read is a message, and the end never comes from here.
    # An engine may then echo by itself, and counts the messages; else receive() calls
    # Connection.received().
    reflects: bool = False

    def start(self) -> bytes:
        """Return the first output; b"" for an echo."""
        return b""

    def receive(self, data: bytes, /) -> bytes:
        """Return the output that *data* asks for; b"" for none."""
        ...

    def more(self) -> bytes | Span:
        """Return the next piece of output, now that all before it is sent; b"" if there is none."""
        return b""

    def wake(self) -> bytes:
        """Return output now that `within` seconds have passed: a ping, or a last one and `done`."""
        return b""

    def ready(self) -> bytes:
        """Return output now that `watch` can be read."""
        return b""

    def eof(self) -> bytes:
        """Return the last output: the peer has sent its FIN."""
        return b""

    def close(self) -> bytes:
        """Return the last output: the engine ends the connection, and the peer has not sent its
        FIN.
        """
        return self.eof()


class Meter(typing.Protocol):
    """Receives the messages of a connection."""

    def connected(self, connection: Connection, /) -> None: ...
    def received(self, connection: Connection, n: int, /) -> None: ...


class Connection:
    """The facts about a connection, apart from its bytes."""

    __slots__ = (
        "admitted",
        "announced",
        "awaits",
        "bytes",
        "messages",
        "meter",
        "peer",
        "reported",
        "reported_bytes",
        "tls",
        "via",
    )

    def __init__(self, peer: Address, meter: Meter) -> None:
        self.peer = peer  # as announced, once something announced it
        self.via: Address | None = None  # the proxy that carried it here, then
        self.awaits = False  # a proxy is still to announce the peer
        self.announced: object | None = None  # its PROXY header (proxy_protocol.Announced)
        self.tls: object | None = None  # the layer (tls.Tls), over TLS
        self.admitted = False  # a service has taken it
        self.messages = self.bytes = 0  # received, in all
        self.reported = self.reported_bytes = 0  # of those, reported by the meter
        self.meter = meter

    def connected(self) -> None:
        """A service has admitted this connection: report it, once its peer is known."""
        self.admitted = True
        if self.awaits:
            self.awaits = False
        else:
            self.meter.connected(self)

    def received(self, n: int) -> None:
        """Count and report one application message of *n* bytes."""
        self.meter.received(self, n)


# One a listener, a new Protocol for each connection; may raise Refused.
Service = Callable[[Connection], Protocol]
