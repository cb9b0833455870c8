"""The supervisor: engines in processes of their own, and a process that keeps what must outlive them.

It opens every listener and keeps a copy. So when an engine's process dies, the clients that wait in its queue go on
waiting, and the process that takes its place finds them there.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence

from .errors import LocalError
from .events import Event, Events, Kind
from .listeners import Listener
from .net import kernel
from .stop import Stop, milliseconds

_AGAIN = 1.0  # seconds between two starts of the same job: one that always fails must not spin
_PATIENCE = 5.0  # seconds beyond the drain limit, after which an engine that has not returned is killed


class Job:
    """One engine: *run* serves *listeners* until the stop it is given; a process runs it."""

    def __init__(self, run: Callable[[Stop], None], listeners: Sequence[Listener]) -> None:
        self.run = run
        self.listeners = listeners
        self.pid = 0
        self.exited = -1  # a pidfd, while it runs
        self.started = 0.0
        self.finished = False


class Supervisor:
    """Runs *jobs* until *stop* is set, and then waits *drain* seconds and a few for them to end."""

    def __init__(self, jobs: Sequence[Job], stop: Stop, events: Events, drain: float) -> None:
        self._jobs = jobs
        self._stop = stop
        self._inner = Stop()  # the jobs' own: set only when our copies of the listeners are closed
        self._events = events
        self._drain = drain

    def run(self) -> None:
        try:
            while not self._stop.wait(0) and not all(job.finished for job in self._jobs):
                for job in self._jobs:
                    if not job.pid and not job.finished and time.monotonic() >= job.started + _AGAIN:
                        self._start(job)
                self._reap(self._wait(_AGAIN if any(not j.pid and not j.finished for j in self._jobs) else None))
        finally:
            self._end()

    def kill(self) -> None:
        """End every job at once, with all its children; safe in a signal handler."""
        for job in self._jobs:
            if job.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)

    def _start(self, job: Job) -> None:
        job.started = time.monotonic()
        try:
            job.pid = kernel.fork()
        except OSError as error:
            self._events.tell(Event(Kind.TOLD, detail=f"no process could be started: {error.strerror}; once more in a second"))
            return
        if job.pid == 0:
            self._become(job)
        with contextlib.suppress(OSError):
            os.setpgid(job.pid, job.pid)  # whoever is first: the child does the same
        job.exited = os.pidfd_open(job.pid)

    def _become(self, job: Job) -> None:
        """In the child: run the job, and nothing of the parent's after it."""
        code = 1
        try:
            os.setpgid(0, 0)  # a Ctrl-C is the supervisor's to hear, and it can end the job with its children
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._stop.inherit()
            self._inner.inherit()
            self._events.reset()
            for other in self._jobs:
                if other is not job:
                    _close(other.listeners)
                    if other.exited >= 0:
                        os.close(other.exited)
            job.run(self._inner)
            code = 0
        except Exception as error:  # no traceback reaches a user: one line, and the supervisor starts another
            self._events.tell(Event(Kind.TOLD, detail=f"process {os.getpid()}: {type(error).__name__}: {error}"))
        finally:
            self._events.flush()
            kernel.exit(code)

    def _wait(self, timeout: float | None) -> list[Job]:
        """Until the stop, an exit or the timeout; the jobs whose process has ended."""
        poller = kernel.poll()
        if not self._inner.wait(0):
            poller.register(self._stop.fileno(), 0)
        running = {job.exited: job for job in self._jobs if job.pid}
        for fd in running:
            poller.register(fd, select.POLLIN)
        return [running[fd] for fd, _ in poller.poll(milliseconds(timeout)) if fd in running]

    def _reap(self, ended: Sequence[Job]) -> None:
        for job in ended:
            _, status = os.waitpid(job.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            os.close(job.exited)
            pid, job.pid, job.exited = job.pid, 0, -1
            if code == 0:
                job.finished = True
            elif not self._inner.wait(0):
                how = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
                self._events.tell(Event(Kind.TOLD, detail=f"process {pid} {how}; its clients wait for the one that takes its place"))

    def _end(self) -> None:
        for job in self._jobs:
            _close(job.listeners)  # before the jobs close theirs: the last copy to close must be one that accepts
        self._inner.set()
        until = time.monotonic() + self._drain + _PATIENCE
        while any(job.pid for job in self._jobs) and (left := until - time.monotonic()) > 0:
            self._reap(self._wait(left))
        self.kill()
        while running := [job for job in self._jobs if job.pid]:
            self._reap(self._wait(None))
            self._events.tell(Event(Kind.TOLD, detail=f"{len(running)} processes did not end in time and were killed"))
        self._inner.close()


def fork_alone() -> int:
    """fork(2), for a caller that has no other thread; raises LocalError if it has, since a lock that one of them holds
    would stay locked in the child for ever."""
    if threading.active_count() > 1:
        raise LocalError("this engine forks, and a process that forks must have no other thread")
    until = time.monotonic() + 0.1
    with contextlib.suppress(FileNotFoundError):  # /proc is not mounted
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
            time.sleep(0.001)  # one that has ended for Python may still be on its way out of the kernel
    return kernel.fork()


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()
