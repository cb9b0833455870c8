"""A child process from fork to exit (CS:APP 8.4): one place for what every fork has to get right.

In the child. A signal that arrives between fork and the child's first statement would run the
parent's handler, so the ending signals are blocked across fork. Nothing of the parent runs after
the child's function: it leaves by _exit(2), whatever happens. On request it leads a process group
of its own, or is killed when its parent ends (PR_SET_PDEATHSIG).

In the parent. The child's end is read from a pidfd (pidfd_open(2)) instead of SIGCHLD: it can be
polled beside sockets, and no wait can take a child that somebody else started. Every wait has a
limit; SIGKILL comes after it. A child is reaped exactly once.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import threading
import time
import typing
from collections.abc import Callable, Collection

from .errors import LocalError
from .stop import milliseconds

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_THREAD_EXIT = 0.1  # seconds for threads that Python has joined to leave the kernel
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A forked process that runs *play* and exits with its result (None is 0), or 1 if it raises.

    *ignore* are signals that the child ignores, *default* those that get their default action;
    other dispositions are inherited. With *group* it leads a process group, and kill() reaches all
    of it. With *mortal* it is killed when its parent ends. *fork* and *exit* can be replaced, to be
    recorded.

    Raises OSError if no process or no descriptor is left; no process exists then.
    """

    def __init__(
        self,
        play: Callable[[], int | None],
        *,
        ignore: Collection[signal.Signals] = (),
        default: Collection[signal.Signals] = (),
        group: bool = False,
        mortal: bool = False,
        fork: Callable[[], int] = os.fork,
        exit: Callable[[int], typing.NoReturn] = os._exit,
    ) -> None:
        parent = os.getpid()
        self._group = group
        self.code: int | None = None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self.pid = fork()
            if self.pid == 0:
                code = 1
                try:
                    if group:
                        os.setpgid(0, 0)
                    if mortal:
                        die_with(parent)
                    for number in ignore:
                        signal.signal(number, signal.SIG_IGN)
                    for number in default:
                        signal.signal(number, signal.SIG_DFL)
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    code = play() or 0
                finally:
                    exit(code)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if group:
            # Parent and child both do it: either may run first.
            with contextlib.suppress(OSError):
                os.setpgid(self.pid, self.pid)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise

    def fileno(self) -> int:
        """A descriptor that is readable once the child has ended; -1 once it is reaped."""
        return self._pidfd

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, to the whole group if it leads one. Safe in a signal handler."""
        if self.code is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._group:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code once the child has ended, negative for a signal; None if that takes longer.

        0 seconds is a look; None waits for ever.
        """
        if self.code is None:
            poller = select.poll()
            poller.register(self._pidfd, select.POLLIN)
            if not poller.poll(milliseconds(seconds)):
                return None
            self._reap()
        return self.code

    def end(self, seconds: float = math.inf) -> int:
        """Wait for the end; after *seconds* kill the child. The exit code."""
        code = self.wait(seconds)
        if code is None:
            self.kill()
            code = self.wait()
            assert code is not None
        return code

    def forget(self) -> None:
        """In a sibling that was forked later: close the inherited descriptor."""
        if self.code is None:
            os.close(self._pidfd)

    def _reap(self) -> None:
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._pidfd)
        self._pidfd = -1


def die_with(parent: int) -> None:
    """In a child: be killed when *parent* ends, however it ends (prctl(2), PR_SET_PDEATHSIG)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have ended before the call.
    if os.getppid() != parent:
        os._exit(1)


def single_threaded() -> None:
    """Raise LocalError if this process has another thread: it must not fork.

    A lock that the other thread holds would stay locked in the child for ever.
    """
    if threading.active_count() > 1:
        raise LocalError("this engine forks, and a process that forks must have no other thread")
    until = time.monotonic() + _THREAD_EXIT
    # Without /proc there is nothing to wait for.
    with contextlib.suppress(FileNotFoundError):
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
            time.sleep(0.001)
