"""The connections of a load: opening, replacing, writing, closing."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from ..channel import Channel, open_channel
from ..net import Endpoint, begin, kernel, trouble
from ..sockets import tcp_info
from ..stop import Stop
from ..stream.verify import Fault
from .flow import IN, NEVER, OUT, SECOND, Flow
from .plan import Plan
from .tally import NETWORK, Tally

_PIECE = 65536  # bytes made and written at once
# Up to this many connections, the kernel's counters of each are read each interval: 5 us each.
_ASKED = 1000
_RETRY = SECOND // 10  # between two attempts to reconnect


class Flows:
    """Opens the connections, keeps their number constant, writes to them.

    *numbers* are the numbers of the connections.
    """

    def __init__(
        self, plan: Plan, targets: list[Endpoint], run: int, numbers: tuple[int, int], tally: Tally
    ) -> None:
        self.plan, self.targets, self.run, self.tally = plan, targets, run, tally
        self.poller = kernel.epoll()
        self.open: dict[int, Flow] = {}  # by descriptor
        self.plain: dict[int, Flow] = {}  # those without a layer
        self.ready: list[Flow] = []  # those connected and not closing
        self.missing: list[int] = []  # when each missing connection may be tried again
        self.ending = False
        self.late = NEVER if plan.late is None else int(plan.late * SECOND)
        self.fronts = 0  # bytes returned on closed connections
        self._first, self._step = numbers
        self._made = 0
        size = plan.most
        self.chunk = min(_PIECE, size) if size > 2048 else (4096 // size) * size

    def connect(self, stop: Stop) -> Endpoint:
        """Open all of them, one after the other, to the first target that accepts.

        Raises ConnectError, LocalError if this machine has no resources for them, Stopped.
        """
        for _ in range(self.plan.connections):
            opened = open_channel(self.targets, self.plan.timeout, stop)
            self.targets = [opened.endpoint]
            flow = self._add(opened.channel.sock)
            self._cover(flow, opened.channel)
            self._enter(flow, opened.connect)
        return self.targets[0]

    def start(self) -> None:
        """Begin one more connection. Raises OSError."""
        since = time.monotonic_ns()
        flow = self._add(begin(self.targets[0]))
        flow.since = flow.heard = since

    def _add(self, sock: socket.socket) -> Flow:
        flow = Flow(
            self.run, self._first + self._made * self._step, self.tally.fault, self.chunk, sock
        )
        self._made += 1
        self.open[flow.fd] = self.plain[flow.fd] = flow
        self.poller.register(flow.fd, OUT)
        return flow

    def connected(self, flow: Flow) -> bool:
        """True if the connection is established; if it failed it is dropped, and tried again later.

        A connection with a layer is ready only after the layer's handshake: secured() handles its
        input until then.
        """
        now = time.monotonic_ns()
        if trouble(flow.sock):
            self.tally.now.unconnected += 1
            self.drop(flow, now + _RETRY)
            return False
        self.targets[0].announce(flow.sock)
        layer = self.targets[0].layer
        if layer is not None:
            flow.heard = now  # for now: when the transport was connected
            self._cover(flow, Channel(flow.sock, layer()))
            if flow.channel.ready:  # without a handshake
                self._enter(flow, now - flow.since)
                return True
            self.poller.modify(flow.fd, flow.channel.mask(reading=True, writing=False))
            return False
        self._enter(flow, now - flow.since)
        return True

    def secured(self, flow: Flow) -> bool:
        """True if the layer's handshake is complete; if it failed the connection is dropped, and
        tried again later.
        """
        flow.channel.flush()
        data = flow.channel.read()
        if flow.channel.end is not None:
            self.tally.now.unconnected += 1
            self.drop(flow, time.monotonic_ns() + _RETRY)
            return False
        if data:
            flow.channel.unread(data)
        if not flow.channel.ready:
            self.poller.modify(flow.fd, flow.channel.mask(reading=True, writing=False))
            return False
        self._enter(flow, flow.heard - flow.since)
        return True

    def _cover(self, flow: Flow, channel: Channel) -> None:
        flow.channel, flow.plain = channel, channel.layer is None
        if not flow.plain:
            self.plain.pop(flow.fd, None)

    def _enter(self, flow: Flow, took: int) -> None:
        self.tally.now.times["connect"].add((took,))
        self.tally.now.opened += 1
        flow.connecting, flow.heard = False, time.monotonic_ns()
        self.poller.modify(flow.fd, IN)
        self.ready.append(flow)

    def replace(self, now: int) -> None:
        """Reconnect missing connections whose time has come."""
        due = [at for at in self.missing if at <= now] if self.missing and not self.ending else []
        for at in due:
            self.missing.remove(at)
            try:
                self.start()
            except OSError as error:
                self.tally.now.no_port += error.errno == errno.EADDRNOTAVAIL
                self.tally.now.unconnected += error.errno != errno.EADDRNOTAVAIL
                self.missing.append(now + _RETRY)

    def read_layered(self, flow: Flow) -> bytes:
        """Receive through the layer. Raises BlockingIOError if nothing was received."""
        data = flow.channel.read()
        if flow.channel.pending:  # an answer of the layer's own
            self.arm(flow)
        if data is None:
            if self.plan.content is not None:  # a part of a response
                flow.heard = time.monotonic_ns()
            raise BlockingIOError
        return data

    def renewed(self, back: list[Flow]) -> list[Flow]:
        """Return those of *back* whose connections stay. A server that has ended its direction
        after a response, as it said, is connected to again.
        """
        kept = []
        for flow in back:
            layer = flow.channel.layer
            if flow.end == NEVER and layer is not None and layer.ended:
                if flow.fd in self.open:
                    self.drop(flow, time.monotonic_ns())
            else:
                kept.append(flow)
        return kept

    def heard_late(self, flow: Flow, at: int, pause: int, n: int) -> None:
        """Note *n* bytes received at *at*, after a silence of which *pause* is our own (SIGTSTP),
        and no fault.
        """
        if self.plan.new_connections and not flow.answered and n:
            flow.answered = True
            self.tally.now.times["first_byte"].add((at - flow.since,))
        gap = at - max(flow.heard, flow.since) - pause
        if gap > self.late and flow.end != NEVER and n:
            length = flow.sent - flow.owed - flow.front
            self.tally.fault(
                Fault(
                    "delayed",
                    flow.connection,
                    flow.front,
                    length,
                    f"nothing came for {gap / 1e6:.0f} ms",
                )
            )

    def drop(self, flow: Flow, again: int | None) -> None:
        """Close it; *again* is when its replacement may be opened, unless the load ends."""
        if not self.ending:
            self.count_unserved(flow, self.plan.timeout / 2)
        self._notice(flow)
        self.poller.unregister(flow.fd)
        del self.open[flow.fd]
        self.plain.pop(flow.fd, None)
        if flow in self.ready:
            self.ready.remove(flow)
        flow.sock.close()
        self.fronts += flow.front
        if again is not None and not self.ending:
            self.missing.append(again)

    def count_unserved(self, flow: Flow, least: float) -> None:
        """Count a connection that has waited for at least *least* seconds without receiving
        anything.
        """
        waited = (time.monotonic_ns() - flow.since) / SECOND
        self.tally.now.unserved += flow.end != NEVER and not flow.progress and waited >= least

    def _notice(self, flow: Flow) -> None:
        """Add the growth of the kernel's counters since they were last read."""
        if flow.connecting:
            return
        with contextlib.suppress(OSError):
            info = tcp_info(flow.sock)
            for i, name in enumerate(NETWORK):
                count = getattr(info, name)
                setattr(
                    self.tally.now, name, getattr(self.tally.now, name) + count - flow.network[i]
                )
                flow.network[i] = count

    def notice(self) -> None:
        """The same for every connection, unless there are so many that reading would disturb the
        measurement.
        """
        if len(self.open) <= _ASKED:
            for flow in self.open.values():
                self._notice(flow)

    def lose(self, flow: Flow, kind: str) -> None:
        """Handle the end of a connection: report missing bytes as *kind*, and replace the
        connection.
        """
        before = self.tally.now.kinds.total()
        outstanding = self._waited(flow)
        flow.unmake(len(flow.out) - flow.at)
        good, came = flow.front, flow.progress
        flow.finish(kind)
        flow.front = came  # the missing bytes were not returned
        if not flow.closing:
            self.tally.now.lost += 1
            # No byte is missing: it ended between two messages.
            if self.tally.now.kinds.total() == before:
                self.tally.fault(
                    Fault("closed" if kind == "truncated" else kind, flow.connection, flow.front, 0)
                )
        self.tally.now.missing += outstanding
        self.drop(flow, None if flow.closing else time.monotonic_ns() + (0 if good else _RETRY))

    def _waited(self, flow: Flow) -> int:
        """The number of messages that were not returned, without nudges; their waits are counted
        too.
        """
        now = time.monotonic_ns()
        waiting = [*([(flow.end, flow.since, flow.due)] if flow.end != NEVER else []), *flow.queue]
        waiting = waiting[: len(waiting) - flow.nudges]
        self.tally.waits += [now - (due or since) for _, since, due in waiting]
        return len(waiting)

    def leave(self, flow: Flow) -> None:
        """Stop waiting for the outstanding messages: unfinished, and no fault."""
        self.tally.now.unfinished += self._waited(flow)
        came = flow.progress
        flow.finish(None)
        flow.front = came
        self.drop(flow, None)

    def returned(self) -> int:
        """Bytes returned on all connections, as far as they are verified."""
        return self.fronts + sum(flow.progress for flow in self.open.values())

    # Writing

    def push(self, flow: Flow) -> None:
        """Write pending bytes until the kernel takes no more; the poller reports writability."""
        flow.channel.flush()
        while flow.owed:
            if flow.at == len(flow.out):
                flow.out, flow.at = flow.more(), 0
            piece = memoryview(flow.out)[flow.at : flow.at + flow.owed]
            written = flow.channel.write(piece)
            flow.at += written
            flow.owed -= written
            if written < len(piece):
                if flow.channel.failed is None:  # otherwise the next read returns the error
                    self.arm(flow)
                return
        if flow.armed and not flow.channel.pending:
            flow.armed = False
            self.poller.modify(flow.fd, IN)

    def compare(self, flow: Flow, data: bytes, at: int, back: list[Flow]) -> int:
        """Verify data that the hot path did not recognise as the next piece; the offset reached."""
        flow.receive(data)
        if not flow.damage:
            return flow.front
        start = 0  # of the message: damage before it is not waited for any more
        while flow.progress >= flow.end:
            if flow.harmed(start, flow.end):
                self.tally.now.damaged += 1
            else:
                self.tally.trips.append(at - flow.since)
                if flow.due:
                    self.tally.dues.append(at - flow.due)
            start = flow.end
            flow.end, flow.since, flow.due = flow.queue.popleft() if flow.queue else (NEVER, 0, 0)
            back.append(flow)
        return 0

    def post(self, flow: Flow, size: int, due: int) -> int:
        """Send a message behind the pending bytes of a connection; the time of sending."""
        message = flow.out[flow.at : flow.at + size]
        flow.sent += size
        if not flow.plain:
            flow.channel.message(size)
        if flow.owed or len(message) < size:  # it is pending, or in more than one piece
            flow.owed += size
            now = time.monotonic_ns()
            if not flow.armed:
                self.push(flow)
        else:
            flow.at += size
            write, fd = kernel.write, flow.fd
            # Directly before the write: time in between would count as round trip.
            now = time.monotonic_ns()
            try:
                written = write(fd, message) if flow.plain else flow.channel.write(message)
            except BlockingIOError:
                written = 0
            except OSError as error:
                written, flow.channel.failed = 0, error.errno
            if written < size or (not flow.plain and flow.channel.pending):
                self.owe(flow, size - written)
        if flow.end == NEVER:
            flow.end, flow.since, flow.due = flow.sent, now, due
        else:
            flow.queue.append((flow.sent, now, due))
        return now

    def owe(self, flow: Flow, n: int) -> None:
        """Take back the last *n* bytes before `at`, which were not written."""
        flow.at -= n
        flow.owed += n
        self.arm(flow)

    def arm(self, flow: Flow) -> None:
        if not flow.armed:
            flow.armed = True
            self.poller.modify(flow.fd, IN | OUT)

    def part(self, flow: Flow, until: int) -> None:
        """Send our FIN, and wait for the far end's: surplus bytes may arrive before it."""
        if flow in self.ready:
            self.ready.remove(flow)
        flow.closing = until
        flow.unmake(len(flow.out) - flow.at)
        flow.out, flow.at, flow.owed = b"", 0, 0
        flow.channel.half_close()
        if flow.channel.pending:
            self.arm(flow)

    def close(self) -> None:
        for flow in list(self.open.values()):
            self.drop(flow, None)
        self.poller.close()
