"""How much a far end takes on, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine is held to. Counts are of connections, times in seconds.

    Raises UsageError for a limit that is not positive.
    """

    connections: int | None = None  # at once; None: what the engine and the descriptor limit hold
    per_source: int | None = None  # at once from one address; None: any number
    accept: int | None = None  # in all, after which the engine returns; None: until it is stopped
    idle: float | None = None  # no byte moved either way for so long; None: never too long
    drain: float = 30.0  # from the stop to the reset of what is still open
    line: int = 8192  # bytes of a line, its newline included: CS:APP's MAXLINE
    threads: int = 32  # of the prethread engine
    # The event engine polls without sleeping: no wake-up in the round trip, and a whole core for
    # it.
    spin: bool = False
    # Without an answer from the peer's kernel: the connection is lost; None: as the kernel has it.
    peer: float | None = 300.0
    descriptors: int = 1  # that a connection may hold: its socket, and files of the service

    def __post_init__(self) -> None:
        counts = ("connections", "per_source", "accept", "threads", "descriptors")
        for name in (*counts, "idle", "peer", "line"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"the limit {name} must be a number above 0, not {value}")
        if not 0 <= self.drain < math.inf:
            raise UsageError(f"the limit drain must be 0 or more, and an end, not {self.drain}")
