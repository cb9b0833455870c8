"""The events of a ping as they happen, and its summary.

Times are nanoseconds of time.monotonic_ns().
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..address import Address
from ..histogram import Histogram
from ..stream.verify import Fault
from ..wire.layer import Layer

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to *far_end* was made in *took*. *outage*: the time since the last good reply, 0
    for the first connection.

    *handshake* is the time of the layer's handshake after that, *layer* its result.
    """

    far_end: Address
    took: int
    outage: int = 0
    handshake: int = 0
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Message *seq* of *size* bytes was returned after *took*; *intact*: unchanged."""

    seq: int
    size: int
    far_end: Address
    took: int
    intact: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """Message *seq* is lost."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection is lost."""

    why: str


PingEvent = Connected | Reply | Lost | Broken | Fault


@dataclass(slots=True)
class Summary:
    """The counts so far; times in nanoseconds, of messages returned unchanged.

    Messages neither returned nor lost are outstanding.
    """

    sent: int = 0
    returned: int = 0
    damaged: int = 0  # of those
    lost: int = 0
    connections: int = 0
    # Sum of the times from the last good reply or connection to the next connection.
    outage: int = 0
    faults: int = 0
    # Retransmitted segments, and the other counters of TcpInfo.
    retransmitted: int = 0
    duplicates: int = 0
    reorderings: int = 0
    out_of_order: int = 0
    began: int = field(default_factory=time.monotonic_ns)
    round_trip: Histogram = field(default_factory=Histogram)
    connect: Histogram = field(default_factory=Histogram)
    handshake: Histogram = field(default_factory=Histogram)
    layer: Layer | None = None  # of the last connection

    @property
    def seconds(self) -> float:
        return (time.monotonic_ns() - self.began) / SECOND

    @property
    def nearer(self) -> bool:
        """True if connecting was so much faster than echoing that something nearer may have
        answered the handshake.
        """
        echo, connect = self.round_trip.quantile(0.5), self.connect.quantile(0.5)
        return bool(self.returned) and echo > 5 * connect and echo - connect > SECOND / 1000
