"""A load on several processes: each measures, and this one sums up, so that its output disturbs no
measurement.

The processes are forked, connect, and wait; when all are connected they begin at the same time of
the shared monotonic clock. Each reports the counts of an interval at a time over a socket, as a
pickled Count.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import pickle
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..address import Address
from ..child import Child
from ..errors import LocalError, MeariError, Stopped
from ..net import Endpoint, kernel
from ..stop import Stop, milliseconds
from .flow import SECOND
from .load import Load
from .pause import Pause
from .plan import Plan
from .results import Point, Result
from .tally import Count

_HEAD = struct.Struct("!I")
_AHEAD = SECOND // 50  # from the last connection to the begin
_END = 2.0  # seconds from the stop to the end of the processes
_GRACE = 10.0  # seconds beyond all deadlines of a process


class Worker:
    """One process, as seen by its parent."""

    def __init__(
        self,
        plan: Plan,
        targets: list[Endpoint],
        run: int,
        part: tuple[int, int],
        stop: Stop,
        others: list[Worker],
    ) -> None:
        self.sock, theirs = socket.socketpair()
        self.far_end: Address | None = None  # once it is connected
        self.intervals: list[Count] = []  # reported, not summed up yet
        self.last: Count | None = None  # the counts after the end
        self.gone = False
        self._kept = b""

        def work() -> None:
            for other in (self, *others):
                other.sock.close()
            _work(plan, targets, run, part, stop, theirs)

        # The parent handles the signals, and stops every process.
        self.child = Child(work, ignore=(signal.SIGINT, signal.SIGTERM, signal.SIGQUIT))
        theirs.close()

    def read(self) -> None:
        """Receive its reports. Raises the error that ended it, if that was not planned."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        self._kept += data
        while len(self._kept) >= _HEAD.size:
            size = _HEAD.unpack_from(self._kept)[0] + _HEAD.size
            if len(self._kept) < size:
                break
            self._take(pickle.loads(self._kept[_HEAD.size : size]))
            self._kept = self._kept[size:]
        self.gone = not data

    def close(self, until: float) -> None:
        """Wait for its end until the time *until* of time.monotonic(); then kill it."""
        self.sock.close()
        self.child.end(until - time.monotonic())

    def _take(self, value: object) -> None:
        if isinstance(value, Exception):
            raise value
        if isinstance(value, Count):
            self.intervals.append(value)
        elif isinstance(value, _Last):
            self.last = value.count
        elif isinstance(value, Address):
            self.far_end = value


@dataclass(frozen=True, slots=True)
class _Last:
    """Marks the last report of a process."""

    count: Count


class _Sender:
    """A worker's end of the socket: while the parent does not read, pending reports are merged, so
    the worker never blocks.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left = b""
        self._held: Count | None = None

    def __call__(self, count: Count) -> None:
        if self._held is not None:
            self._held.add(count)
        else:
            self._held = count
        if not self._left:
            self._left, self._held = _framed(self._held), None
        with contextlib.suppress(OSError):  # full; or the parent has gone, and then the stop is set
            self._left = self._left[self._sock.send(self._left, socket.MSG_DONTWAIT) :]

    def at_once(self, value: object) -> None:
        """Send this and all pending reports, blocking if necessary."""
        held = b"" if self._held is None else _framed(self._held)
        with contextlib.suppress(OSError):
            self._sock.sendall(self._left + held + _framed(value))
        self._left, self._held = b"", None


def _framed(value: object) -> bytes:
    data = pickle.dumps(value)
    return _HEAD.pack(len(data)) + data


def _work(
    plan: Plan,
    targets: list[Endpoint],
    run: int,
    part: tuple[int, int],
    stop: Stop,
    sock: socket.socket,
) -> None:
    """The main function of a forked process."""
    stop.inherit()
    report = _Sender(sock)
    try:
        load = Load(plan.part(part[0]), targets, run, part, stop, report)
        report.at_once(load.connect().address)
        begin = sock.recv(8, socket.MSG_WAITALL)
        if len(begin) == 8:
            gc.collect()
            gc.freeze()
            load.run(int.from_bytes(begin, "big"))
            report.at_once(_Last(load.finish()))
    except MeariError as error:
        report.at_once(type(error)(str(error)))
    except Exception as error:
        report.at_once(LocalError(f"a process of the load failed: {type(error).__name__}: {error}"))


class Workers:
    """Runs a plan against the first of *targets* that accepts; run() calls *report* with each
    complete interval.
    """

    def __init__(self, plan: Plan, targets: list[Endpoint], run: int | None = None) -> None:
        self.plan, self.targets = plan, targets
        self.run_number = int.from_bytes(os.urandom(4), "big") if run is None else run
        self.stopped = False
        self._stop = Stop()
        self._pause = Pause()
        self._workers: list[Worker] = []
        self.result = Result(
            plan, self.run_number, datetime.now(UTC).isoformat(timespec="seconds"), plan.address
        )
        self.began = 0  # the begin of counting, as time.monotonic_ns()

    def stop(self) -> None:
        """End the run early; the counts so far are reported.

        Safe in a signal handler; a second time it ends at once.
        """
        if self.stopped:
            self._kill()
        self.stopped = True
        self._stop.set()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.child.kill()

    def run(
        self,
        report: Callable[[Point], None] = lambda _: None,
        idle: Callable[[], None] = lambda: None,
    ) -> Result:
        """Run the plan; *idle* is called several times a second.

        Raises ConnectError if not all connections could be made, LocalError if a process failed,
        Stopped before the begin.
        """
        try:
            n = self.plan.processes
            for i in range(n):
                self._workers.append(
                    Worker(
                        self.plan, self.targets, self.run_number, (i, n), self._stop, self._workers
                    )
                )
            # Each has its own deadline.
            while any(worker.far_end is None for worker in self._workers):
                self._read()
                if any(worker.gone for worker in self._workers):
                    raise Stopped("stopped")
            if (far_end := self._workers[0].far_end) is not None:
                self.result.far_end = str(far_end)
            begin = time.monotonic_ns() + _AHEAD
            for worker in self._workers:
                worker.sock.sendall(begin.to_bytes(8, "big"))
            self.began = begin + int(self.plan.warmup * SECOND)
            self._collect(report, idle)
            return self.result
        finally:
            self._close()

    def _read(self, seconds: float = 0.1) -> None:
        """Wait for reports and receive them."""
        poller = kernel.poll()
        for worker in self._workers:
            if not worker.gone:
                poller.register(worker.sock.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(milliseconds(seconds))}
        for worker in self._workers:
            if not worker.gone and worker.sock.fileno() in ready:
                worker.read()
                if worker.gone and worker.last is None and not self.stopped:
                    raise LocalError("a process of the load died")

    def _collect(self, report: Callable[[Point], None], idle: Callable[[], None]) -> None:
        """Sum up intervals: one is complete when every process has reported it."""
        last = (
            math.inf
            if self.plan.seconds is None
            else self.began / SECOND + self.plan.seconds + self._patience()
        )
        while not all(worker.gone for worker in self._workers):
            self._read()
            now = time.monotonic_ns()
            # The processes were paused with this one, and end later by that time.
            if self._pause.came:
                last += self._pause.take() / SECOND
            else:
                self._pause.seen = now
            while all(
                worker.intervals or worker.last or worker.gone for worker in self._workers
            ) and self._sum(report):
                pass
            idle()
            if self.stopped:
                last = min(last, time.monotonic() + self._patience())
            if time.monotonic() > last:
                self._kill()
                raise LocalError("a process of the load did not end in time, and was killed")
        while self._sum(report):
            pass
        for worker in self._workers:
            if worker.last is not None:
                self.result.finish(worker.last)

    def _patience(self) -> float:
        """The time that a process may take to end: the last answers, then the far end's FIN."""
        return 2 * self.plan.timeout + self.plan.interval + _GRACE

    def _sum(self, report: Callable[[Point], None]) -> bool:
        """Sum up the next interval; False if there is none."""
        having = [worker for worker in self._workers if worker.intervals]
        if not having:
            return False
        counts = [worker.intervals.pop(0) for worker in having]
        total = Count()
        for count in counts:
            total.add(count)
        report(self.result.add(total))
        return True

    def _close(self) -> None:
        self._stop.close()
        self._pause.close()
        until = time.monotonic() + _END
        for worker in self._workers:
            worker.close(until)
        self._workers.clear()
