"""One connection of a load: the messages that were sent on it and are still to be returned."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

from ..channel import Channel
from ..stream.verify import Fault, Verifier
from .tally import NETWORK

SECOND = 1_000_000_000  # all times are nanoseconds of time.monotonic_ns()
NEVER = 1 << 62
IN, OUT = 1, 4  # EPOLLIN, EPOLLOUT


class Flow(Verifier):
    """One connection and its outstanding messages."""

    __slots__ = (
        "answered",
        "armed",
        "at",
        "channel",
        "closing",
        "connecting",
        "due",
        "end",
        "fd",
        "heard",
        "network",
        "nudges",
        "out",
        "owed",
        "plain",
        "queue",
        "sent",
        "since",
        "sock",
    )

    def __init__(
        self,
        run: int,
        number: int,
        report: Callable[[Fault], None],
        chunk: int,
        sock: socket.socket,
    ) -> None:
        super().__init__(run, number, report, chunk)
        self.sock, self.fd = sock, sock.fileno()
        self.channel = Channel(sock)
        self.plain = True  # no layer: the hot path reads and writes the descriptor itself
        self.out: bytes | bytearray = b""  # the next bytes to send
        self.at = 0  # the number of them already made
        self.owed = 0  # bytes of outstanding messages that are not written yet
        self.sent = 0  # the offset at which the last outstanding message ends
        # Of the first: the offset at which it ends, when it was sent, and when it was due.
        self.end, self.since, self.due = NEVER, 0, 0
        self.queue: deque[tuple[int, int, int]] = deque()  # the same three of each later one
        self.heard = 0  # when bytes were last received
        self.network = [0] * len(NETWORK)  # the kernel's counters when last read
        self.nudges = 0  # messages sent as nudges, to make a held message return
        self.connecting, self.armed = True, False  # armed: polled for writability
        self.answered = False  # at all
        self.closing = 0  # the deadline of the far end's FIN, after ours

    def answered_nudge(self) -> bool:
        """True if an answer makes up for a nudge: no message follows it, and as many are
        outstanding as before.
        """
        nudges, self.nudges = self.nudges, 0
        return bool(nudges)

    def shift(self, by: int) -> None:
        """Move all times by a pause of *by* nanoseconds."""
        now = time.monotonic_ns()
        self.since, self.heard = min(now, self.since + by), min(now, self.heard + by)
        self.due += by if self.due else 0
        self.closing += by if self.closing else 0
        self.queue = deque(
            (end, min(now, since + by), due + by if due else 0) for end, since, due in self.queue
        )
