"""A load on several processes: each measures, and this one sums up, so that whatever it prints disturbs no figure.

The processes are forked, connect, and wait; when all are connected they begin at the same moment of the one monotonic
clock. Each tells what it has counted an interval at a time, over a socket, as a pickled Count: they are our own children.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ..errors import ConnectError, LocalError
from ..net import kernel, of_sockaddr
from ..stop import Stop, milliseconds
from .lines import SECOND
from .load import Load
from .plan import Plan
from .reach import Target
from .results import Point, Result
from .tally import Count

_HEAD = struct.Struct("!I")
_AHEAD = SECOND // 50  # from when all are connected to the begin
_GRACE = 5.0  # seconds beyond the plan's own end that a process is given


class Worker:
    """One process, from its parent."""

    def __init__(self, plan: Plan, targets: list[Target], run: int, part: tuple[int, int], stop: Stop, others: list[Worker]) -> None:
        self.sock, theirs = socket.socketpair()
        self.intervals: list[Count] = []  # told, and not yet summed up
        self.ended = False
        self.failure = ""
        self._kept = b""
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                for other in (self, *others):
                    other.sock.close()
                code = _work(plan, targets, run, part, stop, theirs)
            finally:
                os._exit(code)
        theirs.close()

    def read(self) -> list[object]:
        """What it has told since; at the end of it `ended` is set."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        self.ended = not data
        self._kept += data
        found = []
        while len(self._kept) >= _HEAD.size:
            size = _HEAD.unpack_from(self._kept)[0] + _HEAD.size
            if len(self._kept) < size:
                break
            found.append(pickle.loads(self._kept[_HEAD.size : size]))
            self._kept = self._kept[size:]
        return found


def _work(plan: Plan, targets: list[Target], run: int, part: tuple[int, int], stop: Stop, sock: socket.socket) -> int:
    """What a forked process does; its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to heed: it stops us all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop.inherit()

    def tell(value: object) -> None:
        data = pickle.dumps(value)
        with contextlib.suppress(OSError):  # the parent is gone, and the stop with it
            sock.sendall(_HEAD.pack(len(data)) + data)

    load = Load(plan.part(part[0]), targets, run, part, stop, tell)
    try:
        tell(load.connect())
    except ConnectError as error:
        tell(str(error))
        return 2
    begin = sock.recv(8, socket.MSG_WAITALL)
    if len(begin) < 8:
        return 1
    gc.collect()
    gc.freeze()
    load.run(int.from_bytes(begin, "big"))
    return 0


class Crew:
    """Runs a plan against the first of *targets* that answers; run() gives *told* each interval as it is complete."""

    def __init__(self, plan: Plan, targets: list[Target], run: int | None = None) -> None:
        self.plan, self.targets = plan, targets
        self.run_number = int.from_bytes(os.urandom(4), "big") if run is None else run
        self.stopped = False
        self._stop = Stop()
        self._workers: list[Worker] = []
        self.result = Result(plan, self.run_number, datetime.now(UTC).isoformat(timespec="seconds"), plan.address)
        self.began = 0  # as time.monotonic_ns()

    def stop(self) -> None:
        """End the run early; what was counted is told. Safe in a signal handler; a second time it ends at once."""
        if self.stopped:
            self.kill()
        self.stopped = True
        self._stop.set()

    def kill(self) -> None:
        for worker in self._workers:
            if not worker.ended:
                os.kill(worker.pid, signal.SIGKILL)

    def run(self, told: Callable[[Point], None] = lambda _: None, idle: Callable[[], None] = lambda: None) -> Result:
        """Raises ConnectError if not all connections could be made, LocalError if a process died. *idle* is called some times a second."""
        try:
            n = self.plan.processes
            for i in range(n):
                self._workers.append(Worker(self.plan, self.targets, self.run_number, (i, n), self._stop, self._workers))
            self._await_all()
            self.began = time.monotonic_ns() + _AHEAD
            for worker in self._workers:
                worker.sock.sendall(self.began.to_bytes(8, "big"))
            self.began += int(self.plan.warmup * SECOND)
            self._collect(told, idle)
            return self.result
        finally:
            self._close()

    def _poll(self, seconds: float) -> list[Worker]:
        poller = kernel.poll()
        for worker in self._workers:
            if not worker.ended:
                poller.register(worker.sock.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(milliseconds(seconds))}
        return [worker for worker in self._workers if not worker.ended and worker.sock.fileno() in ready]

    def _await_all(self) -> None:
        waiting = set(self._workers)
        until = time.monotonic() + self.plan.timeout * 2 + self.plan.connections * 0.01
        while waiting:
            for worker in self._poll(until - time.monotonic()):
                for value in worker.read():
                    if isinstance(value, str):
                        raise ConnectError(value)
                    if isinstance(value, tuple):
                        self.result.far_end = str(of_sockaddr(value[3]))
                        waiting.discard(worker)
                if worker.ended and worker in waiting:
                    raise LocalError("a process of the load died")
            if time.monotonic() > until:
                raise ConnectError(f"cannot open {self.plan.connections:,} connections within {self.plan.timeout * 2:g} s")

    def _collect(self, told: Callable[[Point], None], idle: Callable[[], None]) -> None:
        """Sum up the intervals as they come: one is complete when every process has told it."""
        last = time.monotonic() + 1e9 if self.plan.seconds is None else self.began / SECOND + self.plan.seconds + self._patience()
        while any(not worker.ended for worker in self._workers):
            for worker in self._poll(0.1):
                worker.intervals += [value for value in worker.read() if isinstance(value, Count)]
            # the last of each is what came after the end
            while all(len(worker.intervals) > 1 or worker.ended for worker in self._workers) and self._sum(told):
                pass
            idle()
            if self.stopped:
                last = min(last, time.monotonic() + self._patience())
            if time.monotonic() > last:
                self.kill()
                raise LocalError("a process of the load did not end in time, and was killed")
        while self._sum(told):
            pass
        for worker in self._workers:
            if not worker.intervals:
                raise LocalError("a process of the load died")
            self.result.count.add(worker.intervals.pop())  # faults that showed in draining

    def _patience(self) -> float:
        return self.plan.timeout + self.plan.interval + _GRACE

    def _sum(self, told: Callable[[Point], None]) -> bool:
        """Sum up the next interval; False if there is none yet."""
        having = [worker for worker in self._workers if len(worker.intervals) > 1]
        if not having:
            return False
        count = Count()
        for worker in having:
            count.add(worker.intervals.pop(0))
        told(self.result.add(count.seconds / len(having), count))
        return True

    def _close(self) -> None:
        self._stop.close()
        for worker in self._workers:
            worker.sock.close()
            _await(worker.pid)


def _await(pid: int) -> None:
    """Wait for the end of a process that was stopped; not for ever."""
    exited = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(exited, select.POLLIN)
    if not poller.poll(2000):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(exited)
