"""One process of a load: messages on many connections, every byte verified.

A closed loop keeps a fixed number of messages outstanding on each connection: a slow far end gets
fewer. An open loop sends each message when it is due on a fixed grid, whatever has been returned,
and times it from then too: a delay by slow answers is not hidden ("coordinated omission").

There is one loop on epoll(7), full duplex: writing never blocks reading. All ready connections are
read before the next messages are written, which keeps the processor's caches warm. Each message is
timed from its own write to the read that completed it.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable

from ..channel import FIN
from ..net import Endpoint, kernel
from ..stop import Stop
from ..wire.layer import LayerFault
from .flow import IN, NEVER, OUT, SECOND, Flow
from .flows import Flows
from .pause import Pause
from .plan import Plan
from .tally import Count, Tally
from .timer import Timer

_AT_ONCE = 64  # events taken from the poller in one call
# Bytes of a read: Python's own allocator serves up to 512; a busy peer fills the last.
_SMALL, _MIDDLE, _LARGE = 448, 8192, 65536
_LOOK = SECOND // 10  # between two inspections of all connections
_OUTSTANDING = 500_000  # messages of an open loop; those due beyond are counted, not sent
_GOODBYE = 2 * SECOND  # for the far end's FIN, after ours
_TIMES = 1000  # times kept before they are counted
_BURST = 64  # messages that a late open loop sends before it reads answers

_TIMES_OF_A_RUN = [
    "_begin",
    "_over",
    "_warm",
    "_report_at",
    "_look_at",
    "_drained",
    "_counting",
    "_gone",
    "_present",
]


class Load:
    """Runs *plan* against the first of *targets* that accepts.

    *part* is the number of this process and the number of processes; *report* is called with each
    interval.
    """

    def __init__(
        self,
        plan: Plan,
        targets: list[Endpoint],
        run: int,
        part: tuple[int, int],
        stop: Stop,
        report: Callable[[Count], None],
    ) -> None:
        self.plan, self.stop, self.report = plan, stop, report
        self.tally = Tally(plan.rate is not None)
        self.flows = Flows(plan, targets, run, part, self.tally)
        self._part = part
        self._left = plan.messages if plan.messages is not None else NEVER  # messages to send
        self._fixed = plan.least if plan.least == plan.most else 0
        self._random = random.Random(f"{run}/{part[0]}")
        most = plan.most * plan.depth
        self._room = _LARGE if most > _MIDDLE // 2 else _SMALL if most <= _SMALL // 2 else _MIDDLE
        self._turn = 0  # of the connections, in an open loop
        self._grid = part[0]  # the number of the next message that is due
        self._counted = 0  # bytes reported
        self._timeout = int(plan.timeout * SECOND)
        self._over = self._warm = self._report_at = self._look_at = self._drained = NEVER
        self._flying = 0  # outstanding messages of an open loop
        self._gone = self._present = 0  # the last time without a connection, and with one
        self._begin = self._counting = 0  # of the load, and of counting after the warm-up
        self._nudged = False  # some connection was nudged
        self._timer: Timer | None = None  # of an open loop
        self._pause = Pause()

    def connect(self) -> Endpoint:
        """Open all connections; return their address. Raises ConnectError, LocalError, Stopped."""
        return self.flows.connect(self.stop)

    def run(self, begin: int) -> None:
        """Send and verify from *begin* (monotonic_ns) until the end of the plan or the stop."""
        plan = self.plan
        try:
            if self.stop.wait(max(0, begin - time.monotonic_ns()) / SECOND):
                return
            self.tally.begin()
            self._begin = self._counting = self._present = begin = max(begin, time.monotonic_ns())
            self._warm = begin + int(plan.warmup * SECOND)
            self._over = (
                self._warm + int(plan.seconds * SECOND) if plan.seconds is not None else NEVER
            )
            self._report_at, self._look_at = self._warm + int(plan.interval * SECOND), begin
            if not plan.warmup:
                self._warm = NEVER
            if plan.rate is None:
                for flow in list(self.flows.ready):
                    self._fill(flow)
            self._loop()
        finally:
            self.flows.close()
            self._pause.close()
            if self._timer is not None:
                self._timer.close()

    def finish(self) -> Count:
        """The count after the end: faults, and late messages of an open loop."""
        if self.plan.rate is None:
            self.tally.conclude()
        else:
            self.tally.now.bytes = max(0, self.flows.returned() - self._counted)
        count = self.tally.take()
        count.after, count.busy, count.until = count.messages, 0.0, 0.0
        return count

    def _loop(self) -> None:
        flows, plain, read, clock, post = (
            self.flows.open,
            self.flows.plain,
            kernel.read,
            time.monotonic_ns,
            self.flows.post,
        )
        tally, trips, dues = self.tally, self.tally.trips, self.tally.dues
        poll, room, fixed, late = self.flows.poller.poll, self._room, self._fixed, self.flows.late
        paced, alone = self.plan.rate is not None, self.plan.new_connections
        get = self.plan.content is not None and not alone
        large, view, fill = room == _LARGE, memoryview(bytearray(room)), os.readv
        buffers = [view]
        timer = -1
        if paced:
            self._timer = Timer()
            timer = self._timer.fileno()
            self.flows.poller.register(timer, IN)
        if alone:
            late = -1  # the first byte of each connection is still missing
        while flows or self.flows.missing or not self.flows.ending:
            # The clock first: a pause that ends within the call is noticed before its time is used.
            at = clock()
            if self._pause.came:
                at = self._shift()
            if at >= self._look_at:
                self._look(at)
            self._pause.seen = at
            wait = self._look_at - at
            if paced and self._send_due():
                wait = 0
            back: list[Flow] = []
            data: bytes | memoryview
            timed = len(trips), len(dues)
            for fd, mask in poll(max(0, wait) / SECOND, _AT_ONCE):
                flow = plain.get(fd)
                if flow is None and fd == timer:
                    self._timer.expired()  # type: ignore[union-attr]
                    continue
                flow = flow or flows[fd]
                if (mask != IN or flow.connecting) and not self._unusual(flow, mask):
                    continue
                try:
                    if not flow.plain:
                        data = self.flows.read_layered(flow)
                        n = len(data)
                    elif large:
                        n = fill(fd, buffers)
                        data = view[:n]
                    else:
                        data = read(fd, room)
                        n = len(data)
                except BlockingIOError:
                    continue
                except OSError as error:
                    flow.channel.failed = error.errno
                    self._ended(flow)
                    continue
                at = clock()
                if at - flow.heard > late:
                    self.flows.heard_late(
                        flow, at, at - self._pause.seen if self._pause.came else 0, n
                    )
                flow.heard = at
                if n and flow.chunk.startswith(data, flow.position) and not flow.damage:
                    flow.position += n
                    flow.front += n
                    answered = flow.front
                elif n:
                    answered = self.flows.compare(flow, bytes(data), at, back)
                else:
                    self._ended(flow)
                    continue
                while answered >= flow.end:
                    trips.append(at - flow.since)
                    if paced:
                        dues.append(at - flow.due)
                    if flow.queue:
                        flow.end, flow.since, flow.due = flow.queue.popleft()
                    else:
                        flow.end = NEVER
                    back.append(flow)
            if self._pause.came:
                self._shift(*timed)
            if back and self._nudged:
                back = [flow for flow in back if not flow.answered_nudge()]
            if get:
                back = self.flows.renewed(back)
            if back and not paced and not alone and not self.flows.ending:
                if len(back) > self._left:
                    del back[self._left :]
                self._left -= len(back)
                if not self._left:
                    self._look_at = 0
                for flow in back:
                    post(flow, fixed or self._size(), 0)
            elif alone:
                for flow in back:
                    if flow.end == NEVER and not flow.closing:
                        self.flows.part(flow, clock() + _GOODBYE)
            if paced:
                self._flying -= len(back)
            if trips and (not paced or self._flying <= 0 or len(trips) >= _TIMES):
                tally.fold()
                if large:
                    for flow in back:
                        flow.prepare()

    # Sending

    def _size(self) -> int:
        return self._fixed or self._random.randint(self.plan.least, self.plan.most)

    def _fill(self, flow: Flow) -> None:
        """Send the first messages of a connection, as many as are to be outstanding."""
        for _ in range(min(self.plan.depth, self._left)):
            self._left -= 1
            self.flows.post(flow, self._size(), 0)

    def _due(self, number: int) -> int:
        assert self.plan.rate is not None
        return self._begin + int(number * SECOND / self.plan.rate)

    def _send_due(self) -> bool:
        """Send due messages; True if more may be due."""
        ready, most, lags = self.flows.ready, _OUTSTANDING // self.plan.connections, self.tally.lags
        for _ in range(_BURST):
            now = time.monotonic_ns()
            if not ready:
                self._gone = now  # messages due meanwhile are sent once there is a connection again
            due = self._due(self._grid)
            if self.flows.ending or not self._left or not ready or due >= self._over or due > now:
                return False
            self._grid += self._part[1]
            self._left -= 1
            self.tally.now.due += 1
            if not self._left:
                self._look_at = 0
            self._turn += 1
            self._flying += 1
            flow = ready[self._turn % len(ready)]
            if len(flow.queue) >= most:
                self.tally.now.shed += 1
                self._flying -= 1
                continue
            sent = self.flows.post(flow, self._size(), due)
            if due > self._gone:
                lags.append(sent - due)
        return True

    def _not_sent(self) -> int:
        """The number of messages that were due by the end and were not sent."""
        if self.plan.rate is None or self.plan.seconds is None:
            return 0
        last = math.ceil((self._over - self._begin) * self.plan.rate / SECOND)
        return max(0, min(self._left, len(range(self._grid, last, self._part[1]))))

    # Everything but whole returned messages

    def _unusual(self, flow: Flow, mask: int) -> bool:
        """Handle the events of *mask*; True if there is something to read."""
        if flow.connecting:
            made = self.flows.connected(flow) if flow.plain else self.flows.secured(flow)
            if made and not self.flows.ending and self.plan.rate is None:
                self._fill(flow)
            return False
        if mask & OUT:
            self.flows.push(flow)
        return bool(mask & ~OUT)

    def _ended(self, flow: Flow) -> None:
        """Handle the far end's FIN or reset."""
        broken = flow.channel.failed is not None or flow.channel.end not in (None, FIN)
        error = None if flow.channel.layer is None else flow.channel.layer.error
        kind = error.kind if isinstance(error, LayerFault) else "reset" if broken else "truncated"
        self.flows.lose(flow, kind)
        if flow.closing and not self.flows.ending and self._left:
            self.flows.missing.append(0)
        self.flows.replace(time.monotonic_ns())

    # Periodic work

    def _look(self, now: int) -> None:
        """Report an interval, end the load, replace connections, find silent ones."""
        flows = self.flows
        done = not self._left and all(flow.end == NEVER for flow in flows.open.values())
        if flows.ready or any(flow.closing for flow in flows.open.values()):
            self._present = now
        alone = self.plan.seconds is None and now - self._present > self._timeout
        if self.stop.wait(0) or done or alone:
            self._over = min(self._over, now)
        if now >= min(self._warm, self._over) and self._warm < NEVER:
            self._warm = NEVER
            self.tally.forget()
            self._counted, self._counting = flows.returned(), now
        if not flows.ending and now >= min(self._report_at, self._over):
            self._report_at += int(self.plan.interval * SECOND)
            if now >= self._over:
                missed = self._not_sent()
                self.tally.now.shed += missed
                self.tally.now.due += missed
            self._report()
        if now >= self._over and not flows.ending:
            for flow in flows.open.values():
                flows.count_unserved(flow, (now - self._counting) / SECOND / 2)
            flows.ending = True
            flows.missing.clear()
            self._drained = now + self._timeout
        flows.replace(now)
        if self._timer is not None and not flows.ending:
            owed = (len(flow.queue) + (flow.end != NEVER) for flow in flows.open.values())
            self._flying = sum(owed)
            self._timer.set(self._due(self._grid), max(1, self._due(self._part[1]) - self._begin))
        for flow in list(flows.open.values()):
            self._watch(flow, now)
        pause = _LOOK if len(flows.open) < 1000 else 5 * _LOOK
        if flows.ending or not self._left:  # the last answers are outstanding
            pause = SECOND // (1000 if len(flows.open) < 100 else 50)
        over = self._over if self._over > now else NEVER
        self._look_at = min(now + pause, over, self._warm, max(self._report_at, now))

    def _shift(self, trips: int = NEVER, dues: int = NEVER) -> int:
        """Remove the time of a pause (SIGTSTP, SIGCONT) from all that is timed; the time now.

        The tally's *trips* and *dues* from these indices on may contain it.
        """
        pause = self._pause.take()
        for name in _TIMES_OF_A_RUN:
            if getattr(self, name) < NEVER:
                setattr(self, name, getattr(self, name) + pause)
        for flow in self.flows.open.values():
            flow.shift(pause)
        self.tally.untime(trips, dues, pause // 2)
        self.tally.now.paused += pause / SECOND
        return self._pause.seen

    def _report(self) -> None:
        self.flows.notice()
        returned = self.flows.returned()
        self.tally.now.bytes, self._counted = max(0, returned - self._counted), returned
        self.tally.now.until = (time.monotonic_ns() - self._counting) / SECOND
        self.report(self.tally.take())

    def _watch(self, flow: Flow, now: int) -> None:
        """Handle a connection that is silent or at its end."""
        ending, owing = self.flows.ending, flow.end != NEVER
        quiet = now - max(flow.heard, flow.since) if owing else 0
        if flow.connecting:
            if ending or now - flow.since > self._timeout:
                self.tally.now.unconnected += not ending
                self.flows.drop(flow, now)
        elif quiet > self._timeout:
            self.flows.lose(flow, "stalled")
        elif now >= self._drained and owing:
            # Bytes still arrive, without an end in sight.
            self.flows.leave(flow)
        elif flow.closing:
            if now >= flow.closing and not owing:
                flow.finish()
                self.tally.now.unclosed += 1
                self.flows.drop(flow, now)
        elif ending and not owing:
            self.flows.part(flow, now + _GOODBYE)
        elif quiet > self._timeout // 2:
            # Bytes may have been lost at the end of a message: the next message shows it.
            if ending or not self._left or self.plan.new_connections:
                self.flows.part(flow, now + _GOODBYE)
            elif self.plan.rate is None and not flow.nudges and not flow.owed:
                flow.nudges, self._nudged = 1, True
                self._left -= 1
                self.flows.post(flow, self._size(), 0)
