"""One process of a load: messages on many connections, every byte of them verified.

A closed loop keeps a fixed number of messages in flight on each connection, and sends the next when one has come back:
a slow far end is asked less. An open loop sends each message when it is due on a fixed grid, whatever came back, and
times it from then too: what waited because others were slow is not hidden ("coordinated omission").

There is one loop on epoll(7), full duplex: writing never keeps it from reading. What came is read from all that are
ready before the next messages are written, which keeps the processor's caches warm; each message is timed from its own
write to the read that ended it.
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
from .lines import IN, NEVER, OUT, SECOND, Line, Lines
from .pause import Pause
from .plan import Plan
from .tally import Count, Tally
from .timer import Timer

_AT_ONCE = 64  # events taken from the poller in one call
_SMALL, _MIDDLE, _LARGE = 448, 8192, 65536  # bytes of a read: up to 512 Python's own allocator gives; a busy peer fills the last
_LOOK = SECOND // 10  # from one look at everything to the next
_OUTSTANDING = 500_000  # messages of an open loop; those due beyond are not sent, and counted
_GOODBYE = 2 * SECOND  # for the far end's FIN, after ours
_TIMES = 1000  # that are kept at most before they are counted
_BURST = 64  # messages of an open loop that is late, sent before what came back is read


class Load:
    """Runs *plan* against the first of *targets* that answers, as *part* (which process, of how many); *told*: each interval."""

    def __init__(
        self, plan: Plan, targets: list[Endpoint], run: int, part: tuple[int, int], stop: Stop, told: Callable[[Count], None]
    ) -> None:
        self.plan, self.stop, self.told = plan, stop, told
        self.tally = Tally(plan.rate is not None)
        self.lines = Lines(plan, targets, run, part, self.tally)
        self._part = part
        self._left = plan.messages if plan.messages is not None else NEVER  # messages to send
        self._fixed = plan.least if plan.least == plan.most else 0
        self._random = random.Random(f"{run}/{part[0]}")
        most = plan.most * plan.depth
        self._room = _LARGE if most > _MIDDLE // 2 else _SMALL if most <= _SMALL // 2 else _MIDDLE
        self._turn = 0  # of the connections, in an open loop
        self._grid = part[0]  # the number of the next message that is due
        self._counted = 0  # bytes told
        self._timeout = int(plan.timeout * SECOND)
        self._over = self._warm = self._tell_at = self._look_at = self._drained = NEVER
        self._flying = 0  # messages of an open loop that are under way
        self._gone = self._present = 0  # when there was no connection last, and when there was one
        self._begin = self._counting = 0  # when it began, and the counting after the warm-up
        self._nudged = False  # some connection was, at some time
        self._timer: Timer | None = None  # of an open loop
        self._pause = Pause()

    def connect(self) -> Endpoint:
        """Open every connection; to where. Raises ConnectError, LocalError, Stopped."""
        return self.lines.connect(self.stop)

    def run(self, begin: int) -> None:
        """Send and verify from *begin* on, a time of time.monotonic_ns(), to the end of the plan or the stop; everything is closed then."""
        plan = self.plan
        try:
            if self.stop.wait(max(0, begin - time.monotonic_ns()) / SECOND):
                return
            self.tally.begin()
            self._begin = self._counting = self._present = begin = max(begin, time.monotonic_ns())
            self._warm = begin + int(plan.warmup * SECOND)
            self._over = self._warm + int(plan.seconds * SECOND) if plan.seconds is not None else NEVER
            self._tell_at, self._look_at = self._warm + int(plan.interval * SECOND), begin
            if not plan.warmup:
                self._warm = NEVER
            if plan.rate is None:
                for line in list(self.lines.ready):
                    self._fill(line)
            self._loop()
        finally:
            self.lines.close()
            self._pause.close()
            if self._timer is not None:
                self._timer.close()

    def finish(self) -> Count:
        """What came after the end. Of a closed loop that is faults alone; of an open one messages too, which were due before it."""
        if self.plan.rate is None:
            self.tally.conclude()
        else:
            self.tally.now.bytes = max(0, self.lines.returned() - self._counted)
        count = self.tally.take()
        count.after, count.busy, count.until = count.messages, 0.0, 0.0
        return count

    def _loop(self) -> None:
        lines, plain, read, clock, post = self.lines.open, self.lines.plain, kernel.read, time.monotonic_ns, self._post
        tally, trips, dues = self.tally, self.tally.trips, self.tally.dues
        poll, room, fixed, late = self.lines.poller.poll, self._room, self._fixed, self.lines.late
        paced, alone = self.plan.rate is not None, self.plan.new_connections
        large, view, fill = room == _LARGE, memoryview(bytearray(room)), os.readv
        buffers = [view]
        timer = -1
        if paced:
            self._timer = Timer()
            timer = self._timer.fileno()
            self.lines.poller.register(timer, IN)
        if alone:
            late = -1  # the first byte of each connection is wanted
        while lines or self.lines.missing or not self.lines.ending:
            at = self._shift() if self._pause.came else clock()
            if at >= self._look_at:
                self._look(at)
            self._pause.seen = at
            wait = self._look_at - at
            if paced and self._send_due():
                wait = 0
            back: list[Line] = []
            data: bytes | memoryview
            timed = len(trips), len(dues)
            for fd, mask in poll(max(0, wait) / SECOND, _AT_ONCE):
                line = plain.get(fd)
                if line is None and fd == timer:
                    self._timer.expired()  # type: ignore[union-attr]
                    continue
                line = line or lines[fd]
                if (mask != IN or line.connecting) and not self._unusual(line, mask):
                    continue
                try:
                    if not line.plain:
                        data = self.lines.read_layered(line)
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
                    line.channel.failed = error.errno
                    self._ended(line)
                    continue
                at = clock()
                if at - line.heard > late:
                    self.lines.heard_late(line, at, at - self._pause.seen if self._pause.came else 0, n)
                line.heard = at
                if n and line.chunk.startswith(data, line.position) and not line.damage:
                    line.position += n
                    line.front += n
                    answered = line.front
                elif n:
                    answered = self._compare(line, bytes(data), at, back)
                else:
                    self._ended(line)
                    continue
                while answered >= line.end:
                    trips.append(at - line.since)
                    if paced:
                        dues.append(at - line.due)
                    if line.queue:
                        line.end, line.since, line.due = line.queue.popleft()
                    else:
                        line.end = NEVER
                    back.append(line)
            if self._pause.came:
                self._shift(*timed)
            if back and self._nudged:
                back = [line for line in back if not line.answered_nudge()]
            if back and not paced and not alone and not self.lines.ending:
                if len(back) > self._left:
                    del back[self._left :]
                self._left -= len(back)
                if not self._left:
                    self._look_at = 0  # the last answers are under way, and the last of them is the end
                for line in back:
                    post(line, fixed or self._size(), 0)
            elif alone:
                for line in back:
                    if line.end == NEVER and not line.closing:
                        self.lines.part(line, clock() + _GOODBYE)
            if paced:
                self._flying -= len(back)
            if trips and (not paced or self._flying <= 0 or len(trips) >= _TIMES):  # counting waits until no answer is waited for
                tally.fold()
                if large:
                    for line in back:
                        line.prepare()

    # Sending

    def _size(self) -> int:
        return self._fixed or self._random.randint(self.plan.least, self.plan.most)

    def _post(self, line: Line, size: int, due: int) -> int:
        """Send a message on a connection, behind what is owed there; when that was."""
        message = line.out[line.at : line.at + size]
        line.sent += size
        if line.owed or len(message) < size:  # it waits, or is in more than one piece
            line.owed += size
            now = time.monotonic_ns()
            if not line.armed:
                self.lines.push(line)
        else:
            line.at += size
            write, fd = kernel.write, line.fd
            now = time.monotonic_ns()  # right before the write: whatever lies between would be told as round trip
            try:
                written = write(fd, message) if line.plain else line.channel.write(message)
            except BlockingIOError:
                written = 0
            except OSError as error:
                written, line.channel.failed = 0, error.errno
            if written < size or (not line.plain and line.channel.pending):
                self.lines.owe(line, size - written)
        if line.end == NEVER:
            line.end, line.since, line.due = line.sent, now, due
        else:
            line.queue.append((line.sent, now, due))
        return now

    def _fill(self, line: Line) -> None:
        """The first messages on a connection, as many as are to be in flight."""
        for _ in range(min(self.plan.depth, self._left)):
            self._left -= 1
            self._post(line, self._size(), 0)

    def _due(self, number: int) -> int:
        assert self.plan.rate is not None
        return self._begin + int(number * SECOND / self.plan.rate)

    def _send_due(self) -> bool:
        """Send messages that are due; whether there may be more of them."""
        ready, most, lags = self.lines.ready, _OUTSTANDING // self.plan.connections, self.tally.lags
        for _ in range(_BURST):
            now = time.monotonic_ns()
            if not ready:
                self._gone = now  # what is due meanwhile is sent when there is a connection again
            due = self._due(self._grid)
            if self.lines.ending or not self._left or not ready or due >= self._over or due > now:
                return False
            self._grid += self._part[1]
            self._left -= 1
            self.tally.now.due += 1
            if not self._left:
                self._look_at = 0
            self._turn += 1
            self._flying += 1
            line = ready[self._turn % len(ready)]
            if len(line.queue) >= most:
                self.tally.now.shed += 1
                self._flying -= 1
                continue
            sent = self._post(line, self._size(), due)
            if due > self._gone:
                lags.append(sent - due)
        return True

    def _not_sent(self) -> int:
        """How many messages were due by the end, and are not sent."""
        if self.plan.rate is None or self.plan.seconds is None:
            return 0
        last = math.ceil((self._over - self._begin) * self.plan.rate / SECOND)
        return max(0, min(self._left, len(range(self._grid, last, self._part[1]))))

    # What is not a message that came back whole

    def _unusual(self, line: Line, mask: int) -> bool:
        """Whether, after what *mask* says, there is something to read."""
        if line.connecting:
            made = self.lines.connected(line) if line.plain else self.lines.secured(line)
            if made and not self.lines.ending and self.plan.rate is None:
                self._fill(line)
            return False
        if mask & OUT:
            self.lines.push(line)
        return bool(mask & ~OUT)

    def _compare(self, line: Line, data: bytes, at: int, back: list[Line]) -> int:
        """What the hot path has not found to be as expected: more than one piece of it, or something else."""
        line.receive(data)
        if not line.damage:
            return line.front
        start = 0  # of the message: what was damaged before it is not asked for any more
        while line.progress >= line.end:
            if line.harmed(start, line.end):
                self.tally.now.damaged += 1
            else:
                self.tally.trips.append(at - line.since)
                if line.due:
                    self.tally.dues.append(at - line.due)
            start = line.end
            line.end, line.since, line.due = line.queue.popleft() if line.queue else (NEVER, 0, 0)
            back.append(line)
        return 0

    def _ended(self, line: Line) -> None:
        """The far end's FIN, or its reset."""
        broken = line.channel.failed is not None or line.channel.end not in (None, FIN)
        self.lines.lose(line, "reset" if broken else "truncated")
        if line.closing and not self.lines.ending and self._left:
            self.lines.missing.append(0)
        self.lines.replace(time.monotonic_ns())

    # Now and then

    def _look(self, now: int) -> None:
        """Whatever is due: an interval to tell, the end, connections to replace, those that are silent."""
        lines = self.lines
        done = not self._left and all(line.end == NEVER for line in lines.open.values())
        if lines.ready or any(line.closing for line in lines.open.values()):
            self._present = now
        if self.stop.wait(0) or done or (self.plan.seconds is None and now - self._present > self._timeout):
            self._over = min(self._over, now)
        if now >= min(self._warm, self._over) and self._warm < NEVER:
            self._warm = NEVER
            self.tally.forget()
            self._counted, self._counting = lines.returned(), now
        if not lines.ending and now >= min(self._tell_at, self._over):
            self._tell_at += int(self.plan.interval * SECOND)
            if now >= self._over:
                missed = self._not_sent()
                self.tally.now.shed += missed
                self.tally.now.due += missed
            self._tell()
        if now >= self._over and not lines.ending:
            for line in lines.open.values():
                lines.count_unserved(line, (now - self._counting) / SECOND / 2)
            lines.ending = True
            lines.missing.clear()
            self._drained = now + self._timeout
        lines.replace(now)
        if self._timer is not None and not lines.ending:
            self._flying = sum(len(line.queue) + (line.end != NEVER) for line in lines.open.values())  # some may have been lost
            self._timer.set(self._due(self._grid), max(1, self._due(self._part[1]) - self._begin))
        for line in list(lines.open.values()):
            self._watch(line, now)
        pause = _LOOK if len(lines.open) < 1000 else 5 * _LOOK
        if lines.ending or not self._left:  # the last answers are under way
            pause = SECOND // (1000 if len(lines.open) < 100 else 50)
        self._look_at = min(now + pause, self._over if self._over > now else NEVER, self._warm, max(self._tell_at, now))

    def _shift(self, trips: int = NEVER, dues: int = NEVER) -> int:
        """After a pause (SIGTSTP, SIGCONT) its time is taken out of all that is timed; what time it is now.

        The tally's *trips* and *dues* from these places on may have it in them.
        """
        at = time.monotonic_ns()
        pause = self._pause.take(at)
        for name in ("_begin", "_over", "_warm", "_tell_at", "_look_at", "_drained", "_counting", "_gone", "_present"):
            if getattr(self, name) < NEVER:
                setattr(self, name, getattr(self, name) + pause)
        for line in self.lines.open.values():
            line.shift(pause)
        self.tally.untime(trips, dues, pause // 2)
        self.tally.now.paused += pause / SECOND
        return at

    def _tell(self) -> None:
        self.lines.notice()
        returned = self.lines.returned()
        self.tally.now.bytes, self._counted = max(0, returned - self._counted), returned
        self.tally.now.until = (time.monotonic_ns() - self._counting) / SECOND
        self.told(self.tally.take())

    def _watch(self, line: Line, now: int) -> None:
        """A connection that is silent, or at its end."""
        ending, owing = self.lines.ending, line.end != NEVER
        quiet = now - max(line.heard, line.since) if owing else 0
        if line.connecting:
            if ending or now - line.since > self._timeout:
                self.tally.now.unconnected += not ending
                self.lines.drop(line, now)
        elif quiet > self._timeout:
            self.lines.lose(line, "stalled")
        elif now >= self._drained and owing:  # bytes are still coming, and would for who knows how long
            self.lines.leave(line)
        elif line.closing:
            if now >= line.closing and not owing:
                line.finish()
                self.tally.now.unclosed += 1
                self.lines.drop(line, now)
        elif ending and not owing:
            self.lines.part(line, now + _GOODBYE)
        elif quiet > self._timeout // 2:  # some bytes may have been lost at the end of a message: what comes after it shows that
            if ending or not self._left or self.plan.new_connections:
                self.lines.part(line, now + _GOODBYE)
            elif self.plan.rate is None and not line.nudges and not line.owed:
                line.nudges, self._nudged = 1, True
                self._left -= 1
                self._post(line, self._size(), 0)
