"""Stop: one object that every wait can watch, in this thread, another, or a forked child.

It is a pair of connected sockets on which nothing is ever written. Stopping shuts one of them down.
Then poll(2) reports POLLHUP on every copy of the other, in every process, for ever. shutdown(2)
acts on the connection, not on a descriptor: a copy that an unrelated fork made keeps nothing open.
Since the kernel closes the sockets of a process that dies, a child whose parent is killed stops
too.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time


def milliseconds(seconds: float | None) -> int | None:
    """What poll(2) takes: rounded up, and a day at the most, since a wait that ends early only
    waits again.
    """
    return None if seconds is None else math.ceil(min(max(0.0, seconds), 86_400.0) * 1000)


class Stop:
    """Set once, by one process; seen by every thread and by every child forked since."""

    def __init__(self) -> None:
        self._watched, self._held = socket.socketpair()
        self._noticed: float | None = None

    def fileno(self) -> int:
        """The descriptor to poll: POLLHUP once stopped. Nothing may be read from it."""
        return self._watched.fileno()

    def set(self) -> None:
        """Stop. Safe in a signal handler, and any number of times."""
        with contextlib.suppress(OSError):  # it is closed
            self._held.shutdown(socket.SHUT_RDWR)
        self._held.close()

    def inherit(self) -> None:
        """In a forked child, before anything else: close the end that only the parent may hold."""
        self._held.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most *timeout* seconds, 0 for a look; True if it is set."""
        poller = select.poll()
        poller.register(self.fileno(), 0)  # POLLHUP is always reported
        return bool(poller.poll(milliseconds(timeout)))

    def noticed(self) -> float:
        """When this process first noticed that it is set, a time of time.monotonic().

        Limits that begin with the stop count from here.
        """
        if self._noticed is None:
            self._noticed = time.monotonic()
        return self._noticed

    def close(self) -> None:
        """Release both ends; a process that still polls a copy is stopped."""
        self.set()
        self._watched.close()
