"""Stop: one thing that every wait can watch, in this thread, another, or a forked child.

It is a pipe on which nothing is ever written. Stopping closes its write end, and then every copy of the read end, in
whatever process, is at end of file: poll(2) says POLLHUP, now and for ever. Since the kernel closes the write end of a
process that dies, a child whose parent is killed is stopped too.
"""

from __future__ import annotations

import math
import os
import select
import time


def milliseconds(seconds: float | None) -> int | None:
    """What poll(2) takes: rounded up, and a day at the most, since a wait that ends early only waits again."""
    return None if seconds is None else math.ceil(min(max(0.0, seconds), 86_400.0) * 1000)


class Stop:
    """Set once, by one process; seen by every thread and by every child forked since."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._noticed: float | None = None

    def fileno(self) -> int:
        """The descriptor to poll: POLLHUP once stopped. Nothing may be read from it."""
        return self._read

    def set(self) -> None:
        """Stop. Safe in a signal handler, and any number of times."""
        fd, self._write = self._write, -1
        if fd >= 0:
            os.close(fd)

    def inherit(self) -> None:
        """To be called first in a forked child: lets go of the write end, which only the parent may hold."""
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most *timeout* seconds, 0 for a look; True if it is set."""
        poller = select.poll()
        poller.register(self._read, 0)  # POLLHUP is always reported
        return bool(poller.poll(milliseconds(timeout)))

    def noticed(self) -> float:
        """When this process first asked, once it was set, as a time of time.monotonic(): what is due after it counts from there."""
        if self._noticed is None:
            self._noticed = time.monotonic()
        return self._noticed

    def close(self) -> None:
        """Release both ends; whoever still polls a copy in another process is stopped."""
        self.set()
        fd, self._read = self._read, -1
        if fd >= 0:
            os.close(fd)
