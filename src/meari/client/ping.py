"""One round trip after another on one connection, each verified and timed.

A message is sent when it is due, whether or not the one before has been returned. If one is not
returned within the patience, it is lost, and its connection is closed: TCP keeps the order, so
nothing behind it could arrive either. A lost connection is replaced, which measures how long the
far end was unreachable.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable

from ..channel import Channel, open_channel, reason
from ..net import Endpoint, begin, kernel, trouble
from ..sockets import tcp_info
from ..stop import Stop, milliseconds
from ..stream.verify import Fault, Verifier
from .pause import Pause
from .ping_events import Broken, Connected, Lost, PingEvent, Reply, Summary
from .tally import NETWORK

# All times are nanoseconds of time.monotonic_ns(), which has no steps.
SECOND = 1_000_000_000
_NEVER = 1 << 62
_AWAKE = SECOND // 1000  # before a message is due: a spinning ping does not sleep from here on
_GOODBYE = 2.0  # seconds for the far end's FIN after ours, as in load
_RETRY = SECOND // 10  # between two attempts to reconnect
_LEAST, _PIECE = 4096, 65536  # bytes of the stream made at once
_UNDER_WAY = 10_000  # messages, at most
_LONGEST = 3600.0  # seconds of a wait: one that ends early only waits again


class Ping:
    """Sends *count* messages of *size* bytes to the first of *targets* that accepts.

    One is sent each *interval* seconds; with 0, when the one before has been returned.
    """

    def __init__(
        self,
        targets: list[Endpoint],
        report: Callable[[PingEvent], None],
        *,
        size: int = 64,
        interval: float = 1.0,
        count: int | None = None,
        seconds: float | None = None,
        patience: float = 10.0,
        spin: bool = False,
    ) -> None:
        self._targets, self._report = targets, report
        self._size, self._interval, self._patience = (
            size,
            int(interval * SECOND),
            int(patience * SECOND),
        )
        self._count, self._spin = count, spin
        self.summary = Summary()
        self._over = self.summary.began + int(seconds * SECOND) if seconds is not None else _NEVER
        self._run = int.from_bytes(os.urandom(4), "big")
        self._channel: Channel | None = None
        self._shaking = 0  # when the layer's handshake began
        self._connecting = 0  # when connecting began, while not connected yet
        self._stream: Verifier
        self._poller: select.epoll
        self._left: deque[memoryview] = deque()  # bytes of messages not written yet
        # (sequence number, offset where it ends, when it was sent).
        self._waiting: deque[tuple[int, int, int]] = deque()
        # When the last connection ended, and when another may be begun, while there is none.
        self._lost_at = self._retry_at = 0
        # The times of connect and handshake of a connection that is not reported yet.
        self._unproven: tuple[int, int] | None = None
        self._resumed = 0  # when our process went on after a pause
        # The kernel's counters of the connection when last read.
        self._network = [0] * len(NETWORK)
        self._good = 0  # the last sign of the far end: a reply or a connection
        self._pause = Pause()

    def run(self, stop: Stop) -> Summary:
        """Ping until the count, the time limit or the stop.

        Raises ConnectError if the first connection fails, Stopped before it.
        """
        until_over = (self._over - time.monotonic_ns()) / SECOND
        with kernel.epoll() as self._poller:
            self._poller.register(stop.fileno(), 0)
            opened = open_channel(
                self._targets, max(0.001, min(self._patience / SECOND, until_over)), stop
            )
            self._targets = [opened.endpoint]
            self._far_end = opened.endpoint.address
            self._poller.register(opened.channel.fileno(), select.EPOLLIN)
            self._connected(opened.channel, opened.connect, opened.handshake)
            try:
                self._go_on(stop)
            finally:
                self._part()
                self._pause.close()
        return self.summary

    def _part(self) -> None:
        """Send our FIN and read until the far end's: surplus bytes show now."""
        if self._channel is None:
            return
        if not self._connecting:
            self._notice(self._channel.sock)
            self._channel.half_close()
            until = time.monotonic() + _GOODBYE
            while (left := until - time.monotonic()) > 0 and (data := self._channel.read()) != b"":
                if data is None:
                    poller = kernel.poll()
                    poller.register(
                        self._channel.fileno(), self._channel.mask(reading=True, writing=False)
                    )
                    poller.poll(milliseconds(left))
                    self._channel.flush()
                    continue
                if self._unproven is not None:
                    self._prove(time.monotonic_ns())
                self._stream.receive(data)
                while self._waiting and self._waiting[0][1] <= self._stream.progress:
                    self._returned(*self._waiting.popleft(), time.monotonic_ns())
            self._stream.finish()
        self._channel.close()

    def _notice(self, sock: socket.socket) -> None:
        """Add the growth of the connection's kernel counters since they were last read."""
        with contextlib.suppress(OSError):
            info = tcp_info(sock)
            for i, name in enumerate(NETWORK):
                count = getattr(info, name)
                setattr(self.summary, name, getattr(self.summary, name) + count - self._network[i])
                self._network[i] = count

    def _go_on(self, stop: Stop) -> None:
        due = time.monotonic_ns()
        while True:
            now = self._now()
            more = self._count is None or self.summary.sent < self._count
            if now >= self._over or (not more and not self._waiting):
                return
            if self._channel is None and now >= self._retry_at:
                self._begin(now)
            ready = self._channel is not None and not self._connecting
            # One after the other, and none without a connection.
            if self._interval == 0:
                more = more and ready and not self._waiting
            if more and now >= due:
                due = max(due + self._interval, now - self._interval)
                self._send(ready)
                more = self._interval > 0  # in any case check for input and for the stop
            if self._wait(stop, min(self._over, due if more else _NEVER, self._given_up_at())):
                return

    def _now(self) -> int:
        """The time now. After a pause of this process (Ctrl-Z), messages sent before are not timed,
        and get new patience.
        """
        # The clock first: a pause that ends within the call is noticed before its time is used.
        now = time.monotonic_ns()
        if self._pause.came:
            self._pause.take()
            now = self._resumed = self._pause.seen
        return now

    def _given_up_at(self) -> int:
        """The deadline of the connection attempt or of the oldest outstanding message; or the time
        to reconnect.
        """
        if self._channel is None:
            return self._retry_at
        if self._connecting:
            return max(self._connecting, self._resumed) + self._patience
        return max(self._waiting[0][2], self._resumed) + self._patience if self._waiting else _NEVER

    # The connection

    def _connected(self, channel: Channel, took: int, handshake: int = 0) -> None:
        self._channel, self._connecting = channel, 0
        self._mask = int(select.EPOLLIN)
        self._network = [0] * len(NETWORK)
        self._stream = Verifier(
            self._run, self.summary.connections, self._fault, min(max(self._size, _LEAST), _PIECE)
        )
        self._out, self._at = self._stream.more(), 0
        self.summary.connections += 1
        self.summary.connect.add((took,))
        self.summary.layer = channel.layer
        self._unproven = (took, handshake)
        if channel.layer is None:
            self._prove(time.monotonic_ns())
        else:
            # A TLS 1.3 server may still reject the client's certificate: the first reply proves it.
            self.summary.handshake.add((handshake,))

    def _prove(self, now: int) -> None:
        """Report the connection: the far end has accepted it."""
        assert self._unproven is not None and self._channel is not None
        (took, handshake), self._unproven = self._unproven, None
        outage = now - self._good if self._lost_at and self._good else 0
        self._good = now
        self.summary.outage += outage
        layer = self._channel.layer
        self._report(Connected(self._far_end, took, outage, handshake, layer))

    def _begin(self, now: int) -> None:
        """Reconnect; the poller reports when that is done."""
        try:
            sock = begin(self._targets[0])
        except OSError:
            self._retry_at = now + _RETRY
            return
        self._connecting, self._channel = now, Channel(sock)
        self._poller.register(sock.fileno(), select.EPOLLOUT)

    def _connection_made(self, channel: Channel) -> None:
        now = time.monotonic_ns()
        if trouble(channel.sock):
            channel.close()
            self._channel, self._connecting, self._retry_at = None, 0, now + _RETRY
            return
        layer = self._targets[0].layer
        if channel.layer is None:
            self._targets[0].announce(channel.sock)
        if layer is not None and channel.layer is None:
            channel = self._channel = Channel(channel.sock, layer())
            self._shaking = now
        if channel.layer is not None:
            channel.flush()
            data = channel.read()
            if channel.end is not None:
                self._lose(channel, channel.end)
                return
            channel.unread(data or b"")
            if not channel.ready:
                self._poller.modify(channel.fileno(), channel.mask(reading=True, writing=False))
                return
        self._poller.modify(channel.fileno(), select.EPOLLIN)
        if channel.layer is None:
            self._connected(channel, now - self._connecting)
        else:
            self._connected(
                channel, self._shaking - self._connecting, time.monotonic_ns() - self._shaking
            )

    def _lose(self, channel: Channel, why: str) -> None:
        """Handle the loss of the connection and of all outstanding messages."""
        self._notice(channel.sock)
        channel.reset()
        self._channel = None
        self._left.clear()
        now = time.monotonic_ns()
        if self._connecting:  # it was never established
            self._connecting, self._retry_at = 0, now + _RETRY
            return
        self._lost_at = now
        # A far end that accepts and closes is not retried in a hot loop.
        self._retry_at = now + (0 if self._stream.front else _RETRY)
        self._stream.finish()
        self._report(Broken(why))
        while self._waiting:
            self._lost(self._waiting.popleft()[0], f"its connection was lost: {why}")

    def _give_up(self, channel: Channel) -> None:
        """The oldest outstanding message, or the connection, took longer than the patience."""
        if not self._waiting:
            self._lose(channel, "no answer")
            return
        seq, end, _ = self._waiting.popleft()
        back = max(0, self._stream.progress - (end - self._size))
        self._lost(
            seq, f"{back:,} of {self._size:,} bytes were back within {self._patience / SECOND:g} s"
        )
        self._lose(channel, "given up")

    def _lost(self, seq: int, why: str) -> None:
        self.summary.lost += 1
        self._report(Lost(seq, why))

    def _fault(self, fault: Fault) -> None:
        if fault.kind == "truncated":  # reported as lost messages
            return
        self.summary.faults += 1
        self._report(fault)

    # Messages

    def _message(self) -> bytes | bytearray:
        """The next message: bytes of the stream."""
        parts = []
        missing = self._size
        while missing:
            if self._at == len(self._out):
                self._out, self._at = self._stream.more(), 0
            part = self._out[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _send(self, ready: bool) -> None:
        self.summary.sent += 1
        if not ready or self._channel is None:
            self._lost(self.summary.sent, "not connected")
            return
        if len(self._waiting) >= _UNDER_WAY:
            self._lost(self.summary.sent, f"not sent: {_UNDER_WAY:,} are under way")
            return
        message = self._message()
        end = (self._waiting[-1][1] if self._waiting else self._stream.front) + self._size
        now = time.monotonic_ns()
        self._channel.message(self._size)
        self._left.append(memoryview(message))
        self._flush(self._channel)
        self._waiting.append((self.summary.sent, end, now))

    def _flush(self, channel: Channel) -> None:
        """Write pending bytes; poll for writability only while some are left."""
        channel.flush()
        while self._left and (written := channel.write(self._left[0])):
            if written == len(self._left[0]):
                self._left.popleft()
            else:
                self._left[0] = self._left[0][written:]
        mask = channel.mask(reading=True, writing=bool(self._left))
        if mask != self._mask:
            self._mask = mask
            self._poller.modify(channel.fileno(), mask)

    def _receive(self, channel: Channel) -> str:
        """Receive, and write pending bytes; the reason if the connection is lost."""
        data = channel.read()
        now = self._now()
        if data == b"":
            return reason(channel.end)
        if data is not None:
            if self._unproven is not None:
                self._prove(now)
            self._stream.receive(data)
            while self._waiting and self._waiting[0][1] <= self._stream.progress:
                self._returned(*self._waiting.popleft(), now)
        self._flush(channel)
        return ""

    def _returned(self, seq: int, end: int, sent: int, now: int) -> None:
        stream = self._stream
        intact = not (stream.damage and stream.harmed(end - self._size, end))
        self.summary.returned += 1
        self._good = now
        self._report(Reply(seq, self._size, self._far_end, now - sent, intact))
        if intact:
            if sent >= self._resumed:  # otherwise the time contains our own pause
                self.summary.round_trip.add((now - sent,))
            return
        self.summary.damaged += 1
        if stream.sound:
            stream.settle()  # report it without waiting for more

    # Waiting

    def _wait(self, stop: Stop, until: int) -> bool:
        """Wait for events and handle them; True at the stop."""
        poll, clock = self._poller.poll, time.monotonic_ns
        if self._channel is not None and not self._connecting and self._channel.waiting:
            until = 0
        if self._spin and (self._waiting or until - clock() < _AWAKE):
            while not (ready := poll(0)) and clock() < until:
                pass
        else:
            left = max(0, until - (_AWAKE if self._spin else 0) - clock())
            ready = poll(-1 if until == _NEVER else min(left / SECOND, _LONGEST))
        channel = self._channel
        if channel is not None and not self._connecting and channel.waiting and not ready:
            ready = [(channel.fileno(), 0)]
        for fd, _ in ready:
            if fd == stop.fileno():
                return True
            if channel is not None and self._connecting:
                self._connection_made(channel)
            elif channel is not None and (why := self._receive(channel)):
                self._lose(channel, why)
        if not ready and self._channel is not None and self._now() >= self._given_up_at():
            self._give_up(self._channel)
        return False
