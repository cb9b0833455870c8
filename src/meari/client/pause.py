"""A process that was stopped (Ctrl-Z) and goes on: what it timed meanwhile is no figure of the far end's."""

from __future__ import annotations

import signal
import threading


class Pause:
    """Notices SIGCONT, from its making to close(); in another thread than the main one it notices none. In nanoseconds."""

    def __init__(self) -> None:
        self.came = False  # there was a pause that take() has not been asked for
        self.seen = 0  # when the process was last known to run
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.signal(signal.SIGCONT, self._continued) if self._main else None

    def _continued(self, *_: object) -> None:
        self.came = True

    def take(self, now: int) -> int:
        """How long it was, with the wait that it began in: a tenth of a second at the most."""
        self.came = False
        before, self.seen = self.seen, now
        return max(0, now - before) if before else 0

    def close(self) -> None:
        if self._main:
            signal.signal(signal.SIGCONT, self._before)
