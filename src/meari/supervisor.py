"""The supervisor: engines in processes of their own, and a process that outlives them.

It keeps a copy of every listener open. When the process of an engine dies, the clients in its
backlog keep waiting, and the process that replaces it finds them there.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial

from .child import Child
from .events import Event, Events, Kind
from .listeners import Listener
from .net import kernel
from .stop import Stop, milliseconds

# Seconds between two starts of the same job: a job that always fails must not spin.
_RETRY = 1.0
# Seconds beyond the drain limit, after which an engine that has not returned is killed.
_PATIENCE = 5.0


class Job:
    """One engine: *run* serves *listeners* until the stop that it is given; a process runs it."""

    def __init__(self, run: Callable[[Stop], None], listeners: Sequence[Listener]) -> None:
        self.run = run
        self.listeners = listeners
        self.child: Child | None = None
        self.started = 0.0
        self.finished = False

    @property
    def missing(self) -> bool:
        return self.child is None and not self.finished


class Supervisor:
    """Runs *jobs* until *stop* is set; then waits *drain* seconds, and _PATIENCE, for their end."""

    def __init__(self, jobs: Sequence[Job], stop: Stop, events: Events, drain: float) -> None:
        self._jobs = jobs
        self._stop = stop
        # The stop of the jobs: set only when our copies of the listeners are closed.
        self._inner = Stop()
        self._events = events
        self._drain = drain

    def run(self) -> None:
        try:
            while not self._stop.wait(0) and not all(job.finished for job in self._jobs):
                for job in self._jobs:
                    if job.missing and time.monotonic() >= job.started + _RETRY:
                        self._start(job)
                self._reap(self._wait(_RETRY if any(job.missing for job in self._jobs) else None))
        finally:
            self._end()

    def kill(self) -> None:
        """Kill every job with all its children. Safe in a signal handler."""
        for job in self._jobs:
            if job.child is not None:
                job.child.kill()

    def _start(self, job: Job) -> None:
        job.started = time.monotonic()
        try:
            # A Ctrl-C reaches the supervisor alone; a group of its own ends with all its children.
            job.child = Child(
                partial(self._become, job),
                ignore=(signal.SIGINT, signal.SIGTERM),
                group=True,
                fork=kernel.fork,
                exit=kernel.exit,
            )
        except OSError as error:
            self._notice(f"no process could be started: {error.strerror}; retry in a second")

    def _become(self, job: Job) -> int:
        """In the child: run the job."""
        try:
            self._stop.inherit()
            self._inner.inherit()
            self._events.reset()
            for other in self._jobs:
                if other is not job:
                    _close(other.listeners)
                    if other.child is not None:
                        other.child.forget()
            job.run(self._inner)
        except Exception as error:
            self._notice(f"process {os.getpid()}: {type(error).__name__}: {error}")
            return 1
        finally:
            self._events.flush()
        return 0

    def _notice(self, text: str) -> None:
        self._events.report(Event(Kind.NOTICE, detail=text))

    def _wait(self, timeout: float | None) -> list[Job]:
        """Wait for the stop, an exit or the timeout; the jobs whose process has ended."""
        poller = kernel.poll()
        if not self._inner.wait(0):
            poller.register(self._stop.fileno(), 0)
        running = {job.child.fileno(): job for job in self._jobs if job.child is not None}
        for fd in running:
            poller.register(fd, select.POLLIN)
        ready = poller.poll(milliseconds(timeout))
        return [running[fd] for fd, _ in ready if fd in running]

    def _reap(self, ended: Sequence[Job]) -> None:
        for job in ended:
            assert job.child is not None
            child, job.child = job.child, None
            code = child.end()
            if code == 0:
                job.finished = True
            elif not self._inner.wait(0):
                how = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
                self._notice(f"process {child.pid} {how}; its clients wait for its replacement")

    def _end(self) -> None:
        # Our copies first: the last copy to be closed must be one that accepts.
        for job in self._jobs:
            _close(job.listeners)
        self._inner.set()
        until = time.monotonic() + self._drain + _PATIENCE
        while any(job.child for job in self._jobs) and (left := until - time.monotonic()) > 0:
            self._reap(self._wait(left))
        self.kill()
        if running := [job for job in self._jobs if job.child is not None]:
            self._reap(running)
            self._notice(f"{len(running)} processes did not end in time and were killed")
        self._inner.close()


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()
