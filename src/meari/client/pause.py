"""A process that was stopped (Ctrl-Z) and goes on: what it timed meanwhile is no figure of the far end's."""

from __future__ import annotations

import signal


class Pause:
    """Notices SIGCONT, from its making to close(). To be made in the main thread; times are nanoseconds."""

    def __init__(self) -> None:
        self.came = False  # there was a pause that take() has not been asked for
        self.seen = 0  # when the process was last known to run
        self._before = signal.signal(signal.SIGCONT, self._continued)

    def _continued(self, *_: object) -> None:
        self.came = True

    def take(self, now: int) -> int:
        """How long it was, with the wait that it began in: a tenth of a second at the most."""
        self.came = False
        return max(0, now - self.seen) if self.seen else 0

    def close(self) -> None:
        signal.signal(signal.SIGCONT, self._before)
