"""The connections of a load, from their beginning to their end."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections import deque
from collections.abc import Callable

from ..channel import Channel, open_channel
from ..net import Endpoint, begin, kernel, trouble
from ..sockets import tcp_info
from ..stop import Stop
from ..verify import Fault, Verifier
from .plan import Plan
from .tally import NETWORK, Tally

SECOND = 1_000_000_000  # all times are nanoseconds of time.monotonic_ns()
NEVER = 1 << 62
IN, OUT = 1, 4  # EPOLLIN, EPOLLOUT
_PIECE = 65536  # bytes that are made, and written, at once
_ASKED = 1000  # connections, up to which the kernel is asked about each, each interval: some 5 us
_RETRY = SECOND // 10  # from one attempt to connect anew to the next


class Line(Verifier):
    """One connection, and where its messages are."""

    __slots__ = (
        "answered",
        "armed",
        "at",
        "channel",
        "closing",
        "connecting",
        "due",
        "end",
        "fd",
        "heard",
        "network",
        "nudges",
        "out",
        "owed",
        "plain",
        "queue",
        "sent",
        "since",
        "sock",
    )

    def __init__(self, run: int, number: int, tell: Callable[[Fault], None], chunk: int, sock: socket.socket) -> None:
        super().__init__(run, number, tell, chunk)
        self.sock, self.fd = sock, sock.fileno()
        self.channel = Channel(sock)
        self.plain = True  # no layer: the hot path reads and writes the descriptor itself
        self.out: bytes | bytearray = b""  # what is sent next
        self.at = 0  # how much of it is
        self.owed = 0  # bytes of messages under way that the kernel has not taken
        self.sent = 0  # the offset where the last message under way ends
        self.end, self.since, self.due = NEVER, 0, 0  # the offset where the first one ends, when it was sent, and when due
        self.queue: deque[tuple[int, int, int]] = deque()  # the same three of those after it
        self.heard = 0  # when bytes came last
        self.network = [0] * len(NETWORK)  # what the kernel had counted when it was last asked
        self.nudges = 0  # messages that were sent to make some come
        self.connecting, self.armed = True, False  # armed: watched for room to write
        self.answered = False  # at all
        self.closing = 0  # until when, after our FIN, the far end's is waited for

    def answered_nudge(self) -> bool:
        """True if an answer makes up for a nudge: no message follows it, and as many are in flight as before."""
        nudges, self.nudges = self.nudges, 0
        return bool(nudges)

    def shift(self, by: int) -> None:
        """The clock stood still for *by* nanoseconds."""
        now = time.monotonic_ns()
        self.since, self.heard = min(now, self.since + by), min(now, self.heard + by)
        self.due += by if self.due else 0
        self.closing += by if self.closing else 0
        self.queue = deque((end, min(now, since + by), due + by if due else 0) for end, since, due in self.queue)


class Lines:
    """Opens the connections, keeps their number up, writes to them. *numbers* are those that they get."""

    def __init__(self, plan: Plan, targets: list[Endpoint], run: int, numbers: tuple[int, int], tally: Tally) -> None:
        self.plan, self.targets, self.run, self.tally = plan, targets, run, tally
        self.poller = kernel.epoll()
        self.open: dict[int, Line] = {}  # by descriptor
        self.plain: dict[int, Line] = {}  # those of them without a layer
        self.ready: list[Line] = []  # those of them that are connected, and not closing
        self.missing: list[int] = []  # when each connection that is not there may be tried again
        self.ending = False
        self.late = NEVER if plan.late is None else int(plan.late * SECOND)
        self.fronts = 0  # bytes returned on connections that are gone
        self._first, self._step = numbers
        self._made = 0
        size = plan.most
        self.chunk = min(_PIECE, size) if size > 2048 else (4096 // size) * size

    def connect(self, stop: Stop) -> Endpoint:
        """Open all of them, one after the other, to the first of the targets that answers.

        Raises ConnectError, LocalError without room for them, Stopped.
        """
        for _ in range(self.plan.connections):
            opened = open_channel(self.targets, self.plan.timeout, stop)
            self.targets = [opened.endpoint]
            line = self._add(opened.channel.sock)
            self._cover(line, opened.channel)
            self._enter(line, opened.connect)
        return self.targets[0]

    def start(self) -> None:
        """Begin one more. Raises OSError."""
        since = time.monotonic_ns()
        line = self._add(begin(self.targets[0]))
        line.since = line.heard = since

    def _add(self, sock: socket.socket) -> Line:
        line = Line(self.run, self._first + self._made * self._step, self.tally.fault, self.chunk, sock)
        self._made += 1
        self.open[line.fd] = self.plain[line.fd] = line
        self.poller.register(line.fd, OUT)
        return line

    def connected(self, line: Line) -> bool:
        """Whether the connection that was begun is there now; if it failed it is dropped, and tried again later.

        With a layer it is there once that has shaken hands: secured() is called for what comes until then.
        """
        now = time.monotonic_ns()
        if trouble(line.sock):
            self.tally.now.unconnected += 1
            self.drop(line, now + _RETRY)
            return False
        layer = self.targets[0].layer
        if layer is not None:
            line.heard = now  # for now: when the transport was there
            self._cover(line, Channel(line.sock, layer()))
            self.poller.modify(line.fd, line.channel.mask(reading=True, writing=False))
            return False
        self._enter(line, now - line.since)
        return True

    def secured(self, line: Line) -> bool:
        """Whether the layer's handshake is over now; if it failed the connection is dropped, and tried again later."""
        line.channel.flush()
        data = line.channel.read()
        if line.channel.end is not None:
            self.tally.now.unconnected += 1
            self.drop(line, time.monotonic_ns() + _RETRY)
            return False
        if data:
            line.channel.unread(data)
        if not line.channel.ready:
            self.poller.modify(line.fd, line.channel.mask(reading=True, writing=False))
            return False
        self._enter(line, line.heard - line.since)
        return True

    def _cover(self, line: Line, channel: Channel) -> None:
        line.channel, line.plain = channel, channel.layer is None
        if not line.plain:
            self.plain.pop(line.fd, None)

    def _enter(self, line: Line, took: int) -> None:
        self.tally.now.times["connect"].add((took,))
        self.tally.now.opened += 1
        line.connecting, line.heard = False, time.monotonic_ns()
        self.poller.modify(line.fd, IN)
        self.ready.append(line)

    def replace(self, now: int) -> None:
        """Begin anew the connections that are missing, as far as it is time."""
        due = [at for at in self.missing if at <= now] if self.missing and not self.ending else []
        for at in due:
            self.missing.remove(at)
            try:
                self.start()
            except OSError as error:
                self.tally.now.no_port += error.errno == errno.EADDRNOTAVAIL
                self.tally.now.unconnected += error.errno != errno.EADDRNOTAVAIL
                self.missing.append(now + _RETRY)

    def read_layered(self, line: Line) -> bytes:
        """What came, through the layer. Raises BlockingIOError if nothing has."""
        data = line.channel.read()
        if line.channel.pending:  # an answer of the layer's own
            self.arm(line)
        if data is None:
            raise BlockingIOError
        return data

    def heard_late(self, line: Line, at: int, pause: int, n: int) -> None:
        """*n* bytes came at *at*, after a silence; it was no fault for *pause* of it, while we were stopped."""
        if self.plan.new_connections and not line.answered and n:
            line.answered = True
            self.tally.now.times["first_byte"].add((at - line.since,))
        gap = at - max(line.heard, line.since) - pause
        if gap > self.late and line.end != NEVER and n:
            length = line.sent - line.owed - line.front
            self.tally.fault(Fault("delayed", line.connection, line.front, length, f"nothing came for {gap / 1e6:.0f} ms"))

    def drop(self, line: Line, again: int | None) -> None:
        """Close it; *again* is when another may take its place, if it is not the end."""
        if not self.ending:
            self.count_unserved(line, self.plan.timeout / 2)
        self._notice(line)
        self.poller.unregister(line.fd)
        del self.open[line.fd]
        self.plain.pop(line.fd, None)
        if line in self.ready:
            self.ready.remove(line)
        line.sock.close()
        self.fronts += line.front
        if again is not None and not self.ending:
            self.missing.append(again)

    def count_unserved(self, line: Line, least: float) -> None:
        """Count a connection that has waited for *least* seconds at the least, and received nothing."""
        waited = (time.monotonic_ns() - line.since) / SECOND
        self.tally.now.unserved += line.end != NEVER and not line.progress and waited >= least

    def _notice(self, line: Line) -> None:
        """Add what the kernel counted on the connection since it was last asked."""
        if line.connecting:
            return
        with contextlib.suppress(OSError):
            info = tcp_info(line.sock)
            for i, name in enumerate(NETWORK):
                count = getattr(info, name)
                setattr(self.tally.now, name, getattr(self.tally.now, name) + count - line.network[i])
                line.network[i] = count

    def notice(self) -> None:
        """The same of every connection, unless there are so many that asking would disturb what is measured."""
        if len(self.open) <= _ASKED:
            for line in self.open.values():
                self._notice(line)

    def lose(self, line: Line, kind: str) -> None:
        """It has ended, or is given up: what is missing is told as *kind*; another takes its place."""
        before = self.tally.now.kinds.total()
        outstanding = self._waited(line)
        line.unmake(len(line.out) - line.at)
        good, came = line.front, line.progress
        line.finish(kind)
        line.front = came  # what is missing did not come back
        if not line.closing:
            self.tally.now.lost += 1
            if self.tally.now.kinds.total() == before:  # not even that: it ended between two messages
                self.tally.fault(Fault("closed" if kind == "truncated" else kind, line.connection, line.front, 0))
        self.tally.now.missing += outstanding
        self.drop(line, None if line.closing else time.monotonic_ns() + (0 if good else _RETRY))

    def _waited(self, line: Line) -> int:
        """How many messages did not come back, but for those that were to make others come: each has waited until now."""
        now = time.monotonic_ns()
        waiting = [*([(line.end, line.since, line.due)] if line.end != NEVER else []), *line.queue]
        waiting = waiting[: len(waiting) - line.nudges]
        self.tally.waits += [now - (due or since) for _, since, due in waiting]
        return len(waiting)

    def leave(self, line: Line) -> None:
        """Wait no longer for what is still coming: no fault, but messages without an end."""
        self.tally.now.unfinished += self._waited(line)
        came = line.progress
        line.finish(None)
        line.front = came
        self.drop(line, None)

    def returned(self) -> int:
        """Bytes that came back in all, as far as it is known what they are."""
        return self.fronts + sum(line.progress for line in self.open.values())

    # Writing

    def push(self, line: Line) -> None:
        """Write what is owed, as far as the kernel takes it; it says when it takes more."""
        line.channel.flush()
        while line.owed:
            if line.at == len(line.out):
                line.out, line.at = line.more(), 0
            piece = memoryview(line.out)[line.at : line.at + line.owed]
            written = line.channel.write(piece)
            line.at += written
            line.owed -= written
            if written < len(piece):
                if line.channel.failed is None:  # else the next read tells
                    self.arm(line)
                return
        if line.armed and not line.channel.pending:
            line.armed = False
            self.poller.modify(line.fd, IN)

    def owe(self, line: Line, n: int) -> None:
        """The last *n* bytes before `at` were not written."""
        line.at -= n
        line.owed += n
        self.arm(line)

    def arm(self, line: Line) -> None:
        if not line.armed:
            line.armed = True
            self.poller.modify(line.fd, IN | OUT)

    def part(self, line: Line, until: int) -> None:
        """Our FIN; the far end's is waited for, since more than was sent may come before it."""
        if line in self.ready:
            self.ready.remove(line)
        line.closing = until
        line.unmake(len(line.out) - line.at)
        line.out, line.at, line.owed = b"", 0, 0
        line.channel.half_close()
        if line.channel.pending:
            self.arm(line)

    def close(self) -> None:
        for line in list(self.open.values()):
            self.drop(line, None)
        self.poller.close()
