"""One round trip after another on one connection, each verified and timed.

A message is sent when it is due, whether or not the one before has come back. The first that is not back within the
patience is lost, and with it the connection: TCP keeps the order, so nothing behind it would come either. A connection
that is lost is made anew, which tells how long the far end was gone.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..address import Address
from ..errors import ConnectError
from ..histogram import Histogram
from ..net import kernel, of_sockaddr
from ..rio import reset
from ..stop import Stop
from ..verify import Fault, Verifier
from .reach import Target, connect

SECOND = 1_000_000_000  # all times are nanoseconds of time.monotonic_ns(): no step of a wall clock shows in them
_NEVER = 1 << 62
_AWAKE = SECOND // 1000  # before a message is due, from when on a spinning ping does not sleep
_RETRY = SECOND // 10  # from one attempt to connect anew to the next


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to *far_end* was made in *took*; *outage* is since the one before was lost, 0 for the first."""

    far_end: Address
    took: int
    outage: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """Message *seq*, of *size* bytes, was back after *took*."""

    seq: int
    size: int
    far_end: Address
    took: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Message *seq* will not come back."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection is lost."""

    why: str


Told = Connected | Reply | Lost | Broken | Fault


@dataclass(slots=True)
class Summary:
    """What was counted so far; times in nanoseconds."""

    sent: int = 0
    returned: int = 0
    connections: int = 0
    outage: int = 0  # in all, from a loss to the next connection
    faults: int = 0
    began: int = field(default_factory=time.monotonic_ns)
    round_trip: Histogram = field(default_factory=Histogram)
    connect: Histogram = field(default_factory=Histogram)

    @property
    def seconds(self) -> float:
        return (time.monotonic_ns() - self.began) / SECOND

    @property
    def nearer(self) -> bool:
        """Whether connecting was so much faster than echoing that something nearer may have answered the handshake."""
        echo, connect = self.round_trip.quantile(0.5), self.connect.quantile(0.5)
        return bool(self.returned) and echo > 5 * connect and echo - connect > SECOND / 1000


class Ping:
    """Messages of *size* bytes to the first of *targets* that answers, *count* of them.

    One goes out each *interval* seconds, or with 0 when the one before is back.
    """

    def __init__(
        self,
        targets: list[Target],
        tell: Callable[[Told], None],
        *,
        size: int = 64,
        interval: float = 1.0,
        count: int | None = None,
        seconds: float | None = None,
        patience: float = 10.0,
        spin: bool = False,
    ) -> None:
        self._targets, self._tell = targets, tell
        self._size, self._interval, self._patience = size, int(interval * SECOND), int(patience * SECOND)
        self._count, self._spin = count, spin
        self.summary = Summary()
        self._over = self.summary.began + int(seconds * SECOND) if seconds is not None else _NEVER
        self._run = int.from_bytes(os.urandom(4), "big")
        self._stream: Verifier
        self._left: bytes | memoryview = b""  # of a message, not yet written
        self._waiting: deque[tuple[int, int, int]] = deque()  # (sequence number, offset where it ends, when it was sent)
        self._lost_at = 0  # when the connection was, while there is none
        self._retry_at = 0

    def run(self, stop: Stop) -> Summary:
        """Ping until the count, the time or the stop. Raises ConnectError if the first connection cannot be made."""
        sock: socket.socket | None = self._connect()
        due = time.monotonic_ns()
        try:
            while True:
                now = time.monotonic_ns()
                more = self._count is None or self.summary.sent < self._count
                if stop.wait(0) or now >= self._over or (not more and not self._waiting):
                    return self.summary
                if more and now >= due and (self._interval or not self._waiting):
                    due = max(due + self._interval, now - self._interval)
                    now = self._send(sock)
                until = min(self._over, due if more and (self._interval or not self._waiting) else _NEVER)
                if sock is None:
                    sock = self._again(now)
                    until = min(until, self._retry_at)
                elif self._waiting:
                    until = min(until, self._waiting[0][2] + self._patience)
                if not self._wait(sock, stop, until):
                    if sock is not None and self._waiting and time.monotonic_ns() >= self._waiting[0][2] + self._patience:
                        self._lose(sock, f"nothing came back within {self._patience / SECOND:g} s")
                        sock = None
                elif sock is not None and (why := self._receive(sock)):
                    self._lose(sock, why)
                    sock = None
        finally:
            if sock is not None:
                self._stream.finish()
                sock.close()

    # The connection

    def _connect(self) -> socket.socket:
        sock, target, took = connect(self._targets, self._patience / SECOND)
        self._targets = [target]
        self._stream = Verifier(self._run, self.summary.connections, self._fault, max(1, self._size))
        self.summary.connections += 1
        self.summary.connect.add((took,))
        outage = time.monotonic_ns() - self._lost_at if self._lost_at else 0
        self.summary.outage += outage
        self._lost_at = 0
        self._far_end = of_sockaddr(target[3])
        self._tell(Connected(self._far_end, took, outage))
        return sock

    def _again(self, now: int) -> socket.socket | None:
        """Connect anew, if it is time."""
        if now < self._retry_at:
            return None
        try:
            return self._connect()
        except ConnectError:
            self._retry_at = time.monotonic_ns() + _RETRY
            return None

    def _lose(self, sock: socket.socket, why: str) -> None:
        """The connection is lost, with all that was under way on it."""
        reset(sock)
        self._lost_at = self._retry_at = time.monotonic_ns()
        self._left = b""
        self._tell(Broken(why))
        while self._waiting:
            self._tell(Lost(self._waiting.popleft()[0], why))

    def _fault(self, fault: Fault) -> None:
        if fault.kind == "truncated":  # told as messages that are lost
            return
        self.summary.faults += 1
        self._tell(fault)

    # Messages

    def _send(self, sock: socket.socket | None) -> int:
        """Send the next message; when that was."""
        self.summary.sent += 1
        if sock is None:
            self._tell(Lost(self.summary.sent, "not connected"))
            return time.monotonic_ns()
        message = self._stream.more()
        end = self._end()
        now = time.monotonic_ns()
        self._waiting.append((self.summary.sent, end, now))
        if self._left:
            self._left = bytes(self._left) + message
            return now
        try:
            written = kernel.write(sock.fileno(), message)
        except OSError:  # full, or gone: the next read says which
            written = 0
        self._left = memoryview(message)[written:] if written < len(message) else b""
        return now

    def _end(self) -> int:
        return (self._waiting[-1][1] if self._waiting else self._stream.front) + self._size

    def _receive(self, sock: socket.socket) -> str:
        """Write what is left, and take what came; why the connection is lost, if it is."""
        try:
            if self._left:
                self._left = self._left[kernel.write(sock.fileno(), self._left) :]
        except BlockingIOError:
            pass
        except OSError as error:
            return error.strerror or str(error)
        try:
            data = kernel.read(sock.fileno(), 65536)
        except BlockingIOError:
            return ""
        except OSError as error:
            return error.strerror or str(error)
        now = time.monotonic_ns()
        if not data:
            return "the far end closed the connection"
        self._stream.receive(data)
        while self._waiting and self._waiting[0][1] <= self._stream.progress:
            seq, _, sent = self._waiting.popleft()
            self.summary.returned += 1
            self.summary.round_trip.add((now - sent,))
            self._tell(Reply(seq, self._size, self._far_end, now - sent))
        return ""

    def _wait(self, sock: socket.socket | None, stop: Stop, until: int) -> bool:
        """Whether the connection is ready, by *until* or by the stop."""
        with kernel.epoll() as poller:
            poller.register(stop.fileno(), 0)
            if sock is not None:
                poller.register(sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._left else 0))
            poll, clock = poller.poll, time.monotonic_ns
            if self._spin and (self._waiting or until - clock() < _AWAKE):
                while not (ready := poll(0)) and clock() < until:
                    pass
            else:
                left = max(0, until - (_AWAKE if self._spin else 0) - clock())
                ready = poll(-1 if until == _NEVER else left / SECOND)
        return sock is not None and any(fd == sock.fileno() for fd, _ in ready)
