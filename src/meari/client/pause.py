"""A pause of this process (Ctrl-Z, then fg): its time must not be attributed to the far end."""

from __future__ import annotations

import signal
import threading
import time


class Pause:
    """Notices SIGCONT until close(); in threads other than the main one it does nothing.

    A caller that reads the clock must read `came` afterwards: the signal may arrive within the
    call, and the returned time may then lie after the pause.
    """

    def __init__(self) -> None:
        # There was a pause that take() has not returned yet.
        self.came = False
        # The last time at which the process is known to have run, in ns of the monotonic clock.
        self.seen = 0
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.signal(signal.SIGCONT, self._continued) if self._main else None

    def _continued(self, *_: object) -> None:
        self.came = True

    def take(self) -> int:
        """The length of the pause in ns, with the wait that it interrupted; `seen` is now."""
        # A second pause between these two statements sets `came` again, and is part of this one.
        self.came = False
        now = time.monotonic_ns()
        before, self.seen = self.seen, now
        return max(0, now - before) if before else 0

    def close(self) -> None:
        if self._main:
            signal.signal(signal.SIGCONT, self._before)
