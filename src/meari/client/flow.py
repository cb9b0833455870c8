"""One connection of a load: what was sent on it, and what is still to return."""

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
    """One connection, and where its messages are."""

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
        self.out: bytes | bytearray = b""  # what is sent next
        self.at = 0  # how much of it is
        self.owed = 0  # bytes of messages under way that the kernel has not taken
        self.sent = 0  # the offset where the last message under way ends
        # The offset where the first one ends, when it was sent, and when due.
        self.end, self.since, self.due = NEVER, 0, 0
        self.queue: deque[tuple[int, int, int]] = deque()  # the same three of those after it
        self.heard = 0  # when bytes came last
        self.network = [0] * len(NETWORK)  # what the kernel had counted when it was last asked
        self.nudges = 0  # messages that were sent to make some come
        self.connecting, self.armed = True, False  # armed: watched for room to write
        self.answered = False  # at all
        self.closing = 0  # until when, after our FIN, the far end's is waited for

    def answered_nudge(self) -> bool:
        """True if an answer makes up for a nudge: no message follows it, and as many are in flight
        as before.
        """
        nudges, self.nudges = self.nudges, 0
        return bool(nudges)

    def shift(self, by: int) -> None:
        """The clock stood still for *by* nanoseconds."""
        now = time.monotonic_ns()
        self.since, self.heard = min(now, self.since + by), min(now, self.heard + by)
        self.due += by if self.due else 0
        self.closing += by if self.closing else 0
        self.queue = deque(
            (end, min(now, since + by), due + by if due else 0) for end, since, due in self.queue
        )
