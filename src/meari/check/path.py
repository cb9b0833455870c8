"""The path under test: makes connections, and holds what is known of the far end so far."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..channel import open_channel
from ..errors import Stopped
from ..net import Endpoint, kernel
from ..rio import Rio
from ..sockets import tcp_info
from ..stop import Stop
from .connection import Connection, pump
from .spawned import Spawned

_MOST_PATIENT = 20.0  # seconds, even after one bad round trip
# Seconds that one property may take while bytes move (except idle, which waits on purpose).
_MOST, _MOST_QUICK = 120.0, 15.0
# Seconds that all may take, beside the longest idle time: remaining properties are not judged.
_ALL, _ALL_QUICK = 600.0, 75.0
_SILENT = 2  # retransmissions in a row without an acknowledgement: a single lost packet causes one
_SIP = 0.001  # seconds from one piece to the next, for a slow reader


@dataclass(frozen=True, slots=True)
class Baseline:
    """The times of one connection on a quiet path, in seconds."""

    connect: float  # the least of some
    echo: float  # the least of some round trips of one byte
    typical: float  # their median
    worst: float


@dataclass(slots=True)
class Plan:
    """The parameters of a check: at most *clients* at once, at most *idle* seconds of silence;
    *quick*: less of each.
    """

    clients: int = 20
    idle: float = 60.0
    quick: bool = False
    # The SHA-256 of the far end's certificate, if that is known.
    pin: bytes | None = None

    @property
    def most(self) -> float:
        """Seconds after which no property begins."""
        return _ALL_QUICK if self.quick else _ALL + self.idle


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage: the far end could not be reached from *since* until *until* (None: to the end);
    times of time.monotonic().
    """

    since: float
    until: float | None
    reason: str


@dataclass(slots=True)
class Known:
    """What earlier properties have found out for later ones."""

    base: Baseline | None = None
    rate: float = 0.0  # bytes a second in each direction, on one connection
    lines_lost: bool = False  # of several in one segment
    large_lost: bool = False  # what does not fit into a small segment
    capacity: int | None = None  # the number served at once, if it is less than the number tried
    forgets: bool = False  # some connections are accepted by the kernel but never by the far end
    turns_away: bool = False  # those beyond, where others make them wait
    meari: bool = True  # the far end is meari's, where that matters
    # By property: True if it was ok, or ok with a warning.
    held: dict[str, bool] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    outages: list[Outage] = field(default_factory=list)
    gone: Outage | None = None  # the outage that has not ended
    numbers: itertools.count[int] = field(default_factory=itertools.count)  # of the connections
    run: int = field(default_factory=lambda: int.from_bytes(os.urandom(4), "big"))


class Path:
    """The path to the first of *targets* that accepts.

    *spawned* is the far end if it is a started server.
    """

    def __init__(
        self,
        targets: list[Endpoint],
        plan: Plan,
        known: Known,
        stop: Stop,
        spawned: Spawned | None = None,
    ) -> None:
        self.targets, self.plan, self.known, self.stop, self.spawned = (
            targets,
            plan,
            known,
            stop,
            spawned,
        )
        self.began = self.heard = time.monotonic()
        # heard: when the far end's kernel was last known to answer
        # A connection ended while what was sent was no longer acknowledged.
        self.unacknowledged = False

    @property
    def unix(self) -> bool:
        """True for a Unix socket: on this machine, without segments or resets."""
        return self.targets[0].family == socket.AF_UNIX

    @property
    def patience(self) -> float:
        """Seconds to wait for an answer: many times the measured times, however busy this machine
        is.
        """
        least = 0.8 if self.plan.quick else 3.0
        return (
            least
            if self.known.base is None
            else max(least, min(50 * self.known.base.worst, _MOST_PATIENT))
        )

    @property
    def connecting(self) -> float:
        """Seconds that connecting may take: a dropped SYN is retransmitted after 1 s, and again
        after 3 (RFC 6298).
        """
        return max(self.patience, 2.5)

    @property
    def margin(self) -> float:
        """Seconds by which two round trips may differ only because of the path and of this
        machine.
        """
        return (
            0.02
            if self.known.base is None
            else 0.02 + min(5 * self.known.base.worst, _MOST_PATIENT / 10)
        )

    def amount(self, most: int, seconds: float = 1.0) -> int:
        """Bytes of a bulk transfer: *most*, or what takes some *seconds* on a slow path."""
        return (
            most if not self.known.rate else min(most, max(65536, int(seconds * self.known.rate)))
        )

    def connect(self, mss: int | None = None) -> Connection:
        """A connection that carries lines of text, in segments of at most *mss* bytes.

        Raises ConnectError, LocalError, Stopped.
        """
        opened = open_channel(self.targets, self.connecting, self.stop, mss)
        return Connection(
            opened.channel, opened.connect / 1e9, next(self.known.numbers), closing=self._closing
        )

    def stream(self) -> Connection:
        """A connection that carries the keyed stream. Raises as line()."""
        opened = open_channel(self.targets, self.connecting, self.stop)
        return Connection(
            opened.channel,
            opened.connect / 1e9,
            next(self.known.numbers),
            self.known.run,
            self._closing,
        )

    def rio(self) -> Rio:
        """A plain connection; each wait has a deadline, which renew() extends. Raises as line()."""
        opened = open_channel(self.targets, self.connecting, self.stop)
        deadline = time.monotonic() + self.patience
        early = opened.channel.read() if opened.channel.waiting else b""
        rio = _Rio(
            opened.channel.sock,
            self._closing,
            deadline=deadline,
            stop=self.stop,
            layer=opened.channel.layer,
            poll=kernel.poll,
        )
        rio.unread(early or b"")
        return rio

    def _closing(self, sock: socket.socket) -> None:
        """Note, before a connection is closed, that sent data is not acknowledged any more."""
        with contextlib.suppress(OSError):
            info = tcp_info(sock)
            if info.unacked and info.retransmitting >= _SILENT:
                self.unacknowledged = True
            self.heard = max(self.heard, time.monotonic() - info.quiet)

    def wait(self, seconds: float) -> None:
        """Raises Stopped."""
        if self.stop.wait(seconds):
            raise Stopped("stopped")

    def renew(self, rio: Rio, seconds: float | None = None) -> None:
        """Extend the deadline to *seconds*, or to the patience; never past the property's own."""
        rio.deadline = min(time.monotonic() + (seconds or self.patience), self.until)

    @property
    def until(self) -> float:
        """The deadline of this property, whatever still moves: a time of time.monotonic()."""
        return self.began + (_MOST_QUICK if self.plan.quick else _MOST)

    def returns(self, *connections: Connection) -> bool:
        """Wait until all bytes sent on *connections* are returned, or they have ended; whether they
        are.
        """
        for connection in connections:
            connection.reading = True
        self._pump(
            connections,
            lambda: all(
                not connection.missing or connection.end is not None for connection in connections
            ),
            self.patience,
        )
        return not any(connection.missing for connection in connections)

    def ends(self, *connections: Connection, quiet: float | None = None) -> bool:
        """Send our FIN on *connections* and wait for the far end's; whether all of them came."""
        for connection in connections:
            connection.reading = connection.parting = True
        self._pump(
            connections,
            lambda: all(connection.end is not None for connection in connections),
            quiet or self.patience,
        )
        return all(connection.end is not None for connection in connections)

    def _pump(
        self, connections: Collection[Connection], done: Callable[[], bool], quiet: float
    ) -> None:
        """Wait until *done* returns true, or no byte moves.

        Raises Unfinished if bytes still move after a long time.
        """
        over = pump(
            connections,
            done,
            self.stop,
            quiet=quiet,
            most=max(quiet, self.until - time.monotonic()),
        )
        if (
            not over
            and time.monotonic() - max(connection.moved for connection in connections) < quiet
        ):
            raise Unfinished(
                sum(connection.missing for connection in connections), time.monotonic() - self.began
            )

    def fills(
        self, *connections: Connection, most: float = 3.0, quiet: float | None = None
    ) -> bool:
        """Write pending bytes on *connections*, reading nothing, until all are written or no more
        are accepted; whether it is the latter.
        """
        quiet = quiet or (0.1 if self.plan.quick else 0.25)
        for connection in connections:
            connection.reading = False
        pump(
            connections,
            lambda: all(
                connection.written == connection.asked or connection.end
                for connection in connections
            ),
            self.stop,
            quiet=quiet,
            most=most,
        )
        return any(connection.written < connection.asked for connection in connections)

    def sips(self, connection: Connection, enough: Callable[[], bool]) -> None:
        """Read in pieces until *enough* returns true, the end of file, or silence."""
        connection.reading = True
        moving = True
        while (
            moving
            and connection.end is None
            and connection.missing
            and not enough()
            and time.monotonic() < self.until
        ):
            before = connection.returned
            moving = pump(
                [connection],
                lambda: connection.returned > before or connection.end is not None,  # noqa: B023
                self.stop,
                quiet=self.patience,
            )
            self.wait(_SIP)

    def round_trip(self, rio: Rio, seconds: float | None = None) -> float:
        """The seconds of a round trip of one byte, a newline, at most *within*.

        Raises as Rio does, and Different.
        """
        self.renew(rio, seconds)
        began = time.perf_counter()
        rio.writen(b"\n")
        came = rio.readexactly(1)
        took = time.perf_counter() - began
        if came != b"\n":
            raise Different(came)
        return took


class _Rio(Rio):
    """A Rio that reports its end to the path."""

    def __init__(
        self, sock: socket.socket, closing: Callable[[socket.socket], None], **options: typing.Any
    ) -> None:
        super().__init__(sock, **options)
        self._closing = closing

    def abort(self) -> None:
        self._closing(self.sock)
        super().abort()

    def close(self) -> None:
        self._closing(self.sock)
        super().close()


class Unfinished(Exception):
    """Bytes still move after *seconds*, the limit of a property; *missing* bytes are
    outstanding.
    """

    def __init__(self, missing: int, seconds: float) -> None:
        super().__init__(f"{missing:,} bytes are still to come")
        self.missing = missing
        self.seconds = seconds


class Different(Exception):
    """The received bytes differ from the sent ones; *came* is their beginning."""

    def __init__(self, came: bytes) -> None:
        super().__init__(f"{came!r} came")
        self.came = came
