"""The counts of one process of a load since its last report."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from ..histogram import Histogram
from ..stream.verify import Fault

# Each a histogram of nanoseconds.
TIMES = ("round_trip", "from_due", "connect", "first_byte", "lag")
NETWORK = ("retransmitted", "duplicates", "reorderings", "out_of_order")  # as in TcpInfo
FAULTS = 1000  # faults reported with their place; the others are only counted


@dataclass(slots=True)
class Count:
    """The counts of a part of a load, of one process or of all. Two of them can be added."""

    messages: int = 0  # messages returned unchanged
    damaged: int = 0  # messages returned with damage: they are not timed
    missing: int = 0  # messages never returned
    unclosed: int = 0  # connections without the far end's FIN within two seconds after ours
    due: int = 0  # messages of an open loop
    after: int = 0  # messages returned after the end
    unfinished: int = 0  # messages still arriving when the wait for them ended
    bytes: int = 0
    opened: int = 0  # connections
    lost: int = 0  # connections that ended before we ended them
    shed: int = 0  # messages that were due, and not sent
    unserved: int = 0  # connections that sent messages and received no byte
    unconnected: int = 0  # attempts to connect that failed, after the first connections
    # Failures to begin a connection because this machine had no free local port.
    no_port: int = 0
    # Seconds that our process was stopped (SIGTSTP): the clock stood still for them.
    paused: float = 0.0
    retransmitted: int = 0  # retransmitted segments (TCP_INFO, tcp(7))
    duplicates: int = 0  # DSACKs: retransmitted segments that had already arrived
    reorderings: int = 0  # events in which our segments arrived out of order
    out_of_order: int = 0  # received segments that were out of order
    busy: float = 0.0  # seconds of our own processor time
    until: float = 0.0  # seconds from the begin of counting to the end of this part
    kinds: Counter[str] = field(default_factory=Counter)  # faults
    faults: list[Fault] = field(default_factory=list)
    times: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram() for name in TIMES}
    )

    def add(self, other: Count) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.until = max(self.until, other.until)
        self.kinds.update(other.kinds)
        self.faults += other.faults[: max(0, FAULTS - len(self.faults))]
        for name, histogram in other.times.items():
            self.times[name].merge(histogram)


_SUMS = (
    *(
        "messages",
        "damaged",
        "missing",
        "unclosed",
        "due",
        "after",
        "unfinished",
        "bytes",
        "opened",
        "lost",
        "shed",
        "busy",
    ),
    *("unserved", "unconnected", "no_port", "paused", *NETWORK),
)


class Tally:
    """Counts, and is emptied by take().

    Times of messages are put into `trips` (from sending) and `dues`, then counted by fold().
    """

    def __init__(self, paced: bool = False) -> None:
        self.paced = paced
        self.trips: list[int] = []
        self.dues: list[int] = []
        self.lags: list[int] = []
        self.waits: list[int] = []  # lower bounds of messages that were not returned
        self._reported = 0
        self.now = Count()
        self._busy = time.process_time()

    def begin(self) -> None:
        """Begin to count our own processor time."""
        self._busy = time.process_time()

    def fault(self, fault: Fault) -> None:
        self.now.kinds[fault.kind] += 1
        if self._reported < FAULTS:
            self._reported += 1
            self.now.faults.append(fault)

    def fold(self) -> None:
        self.now.messages += len(self.trips)
        self.now.times["round_trip"].add(self.trips)
        self.trips.clear()
        if self.waits:
            for name in ("round_trip", "from_due") if self.paced else ("round_trip",):
                self.now.times[name].add(self.waits)
            self.waits.clear()
        if self.dues:
            self.now.times["from_due"].add(self.dues)
            self.dues.clear()
        if self.lags:
            self.now.times["lag"].add(self.lags)
            self.lags.clear()

    def untime(self, trips: int, dues: int, least: int) -> None:
        """Count those messages from the indices *trips* and *dues* on that took *least* or longer
        without their times.
        """
        self.now.messages += sum(took >= least for took in self.trips[trips:])
        for times, first in ((self.trips, trips), (self.dues, dues)):
            times[first:] = [took for took in times[first:] if took < least]

    def forget(self) -> None:
        """Discard the counts of the warm-up or of late messages; faults and numbers of connections
        are kept.
        """
        self.fold()
        now = self.now
        count = Count(
            opened=now.opened,
            lost=now.lost,
            unfinished=now.unfinished,
            damaged=now.damaged,
            missing=now.missing,
            unserved=now.unserved,
            unconnected=now.unconnected,
            no_port=now.no_port,
            paused=now.paused,
            **{name: getattr(now, name) for name in NETWORK},
            kinds=now.kinds,
            faults=now.faults,
        )
        self.now, self._busy = count, time.process_time()

    def conclude(self) -> None:
        """End a closed loop: messages returned later are not counted, but timed, as are those never
        returned.
        """
        self.fold()
        times = self.now.times["round_trip"]
        self.forget()
        self.now.times["round_trip"] = times

    def take(self) -> Count:
        """Return the counts and start again from zero."""
        self.fold()
        count, self.now = self.now, Count()
        busy = time.process_time()
        count.busy, self._busy = busy - self._busy, busy
        return count
