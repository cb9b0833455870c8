"""The event engine's time limits: every connection is checked from time to time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from .opened import Open

# Connections looked at between two calls of the poller: some 5 ms, where each has to be ended.
_SWEPT = 200


class Sweep:
    """A sweep looks at all connections, some of them in each turn.

    *due*: when the next turn is, a time of time.monotonic().
    """

    def __init__(self) -> None:
        self.due = math.inf
        self._left: list[Open] = []  # of a sweep under way
        self._nearest = math.inf  # when the next sweep is due, as far as is known

    def by(self, due: float) -> None:
        """Some connection has a limit in time: sweep by then, also if a sweep under way has passed
        it already.
        """
        self.due, self._nearest = min(self.due, due), min(self._nearest, due)

    def turn(
        self, connections: Collection[Open], look: Callable[[Open, float], float], at: float
    ) -> bool:
        """Call *look*, which returns when to look at that connection again, for some of them; True
        at the end of a sweep.
        """
        if not self._left:
            self._left, self._nearest = list(connections), math.inf
        part, self._left = self._left[:_SWEPT], self._left[_SWEPT:]
        for c in part:
            if c.sock.fileno() >= 0:
                self._nearest = min(self._nearest, look(c, at))
        # Sweeping takes time, too: at most some 2 % of it.
        grain = 0.02 * (1 + len(connections) / 1000)
        self.due = at if self._left else max(self._nearest, at + grain)
        return not self._left
