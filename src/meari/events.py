"""Events as values; summed when they are too frequent to be read.

A person reads single messages; nobody reads 100,000 a second. Of each kind of event the first ten
of a second are passed on one by one, the rest as one event that stands for them all. Event is made
for this: one event is a sum of one, and two of a kind can be added. So the same lines serve twice:
in each process that reports events, and in the process that writes them all (writer.py).

Events never waits: it passes an event to a function that accepts it or loses it, and counts losses.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from .address import Address
from .wire.protocol import Connection


class Kind(enum.StrEnum):
    LISTENING = "listening"
    CONNECTED = "connected"
    RECEIVED = "received"
    REQUEST = "request"  # of HTTP, once its response is sent
    CLOSED = "closed"
    FAILED = "failed"  # a connection that ended in an error
    REFUSED = "refused"  # a connection that --allow or --per-source does not admit
    CUT = "cut"  # connections that were reset at the drain limit
    WAITING = "waiting"  # clients wait in the backlog: the capacity is reached
    PAUSED = "paused"  # accept found no descriptor or memory
    LIES = "lies"  # lies of a far end that lies on purpose
    NOTICE = "notice"  # any other line
    DROPPED = "dropped"  # events that were lost: nobody read them


_ABOUT_CONNECTIONS = frozenset({Kind.CONNECTED, Kind.CLOSED, Kind.FAILED, Kind.REFUSED})
# Rather than events: said once a second while they last, never summed.
_STATES = frozenset({Kind.WAITING, Kind.PAUSED})
_IN_FULL = frozenset({Kind.LISTENING, Kind.NOTICE, Kind.DROPPED, Kind.REQUEST})
A_SECOND = 10
_QUOTA = {Kind.WAITING: 1, Kind.PAUSED: 1, Kind.CUT: 0}  # of a second, if not A_SECOND


@dataclass(frozen=True, slots=True)
class Event:
    """*count* events of one *kind*, about the named *peers* and *others* without a name."""

    kind: Kind
    peers: tuple[Address, ...] = ()
    others: int = 0
    count: int = 1
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0  # of the connection; meaningless in a sum
    detail: str = ""
    time: float = field(default_factory=time.time)

    def __add__(self, other: Event) -> Event:
        # A connection has many messages, and is named once; of all else it has one, and the first
        # name will do.
        peers = (
            tuple(dict.fromkeys(self.peers + other.peers))
            if self.kind is Kind.RECEIVED
            else self.peers
        )
        return replace(
            other,
            peers=peers,
            others=self.connections + other.connections - len(peers)
            if self.kind is not Kind.RECEIVED
            else self.others + other.others,
            count=self.count + other.count,
            messages=self.messages + other.messages,
            bytes=self.bytes + other.bytes,
            seconds=0.0,
        )

    @property
    def connections(self) -> int:
        return len(self.peers) + self.others


class Events:
    """The events of one process, passed to *hand*, which must not wait. Any thread may report.

    *second* is the length of a second here. Events of the kinds *omit* are not passed on. *due* is
    when tick() wants to be called, a time of time.monotonic(): no wait may be longer. *quota* is
    the number of messages that are still reported one by one in this second; a single-threaded
    engine may count a message itself while it is 0 (engines/event.py).
    """

    def __init__(
        self,
        hand: Callable[[Event], None] | None = None,
        *,
        verbose: bool = False,
        second: float = 1.0,
        omit: Collection[Kind] = (),
    ) -> None:
        self._hand = hand
        self._omit = frozenset(omit)
        self._verbose = verbose
        self._second = second
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget pending events: in a forked child they are the parent's to report."""
        self.due = math.inf
        self.quota = A_SECOND
        self.fresh: list[Connection] = []  # have messages that are not reported
        self._named: list[Connection] = []  # have a message reported in this second
        self._reported: dict[Kind, int] = {}
        self._rest: dict[Kind, Event] = {}

    def report(self, event: Event) -> None:
        with self._lock:
            self._report(event)

    def connected(self, connection: Connection) -> None:
        via = f"via {connection.via}" if connection.via is not None else ""
        self.report(Event(Kind.CONNECTED, (connection.peer,), detail=via))

    def received(self, connection: Connection, n: int) -> None:
        """Count one message of *n* bytes on *connection*, and report it, alone or in a sum."""
        with self._lock:
            if self.quota:
                self._message(connection, n)
                return
            if connection.messages == connection.reported:
                self.fresh.append(connection)
            connection.messages += 1
            connection.bytes += n

    def answered(self, connection: Connection, event: Event) -> None:
        """Count a request on *connection* whose response is sent, and report *event* of it."""
        with self._lock:
            connection.messages += 1
            connection.reported += 1
            connection.bytes += event.bytes
            connection.reported_bytes += event.bytes
            self._report(event)

    def _message(self, connection: Connection, n: int) -> None:
        self.quota -= 1
        connection.messages += 1
        connection.reported += 1
        connection.bytes += n
        connection.reported_bytes += n
        if connection not in self._named:
            self._named.append(connection)
        self._begin()
        self._give(Event(Kind.RECEIVED, (connection.peer,), messages=1, bytes=n))

    def _report(self, event: Event) -> None:
        kind = event.kind
        if kind in self._omit:
            return
        if kind in _IN_FULL or (self._verbose and kind in _ABOUT_CONNECTIONS):
            self._give(event)
            return
        self._begin()
        reported = self._reported.get(kind, 0)
        if event.count == 1 and reported < _QUOTA.get(kind, A_SECOND):
            self._reported[kind] = reported + 1
            self._give(event)
        elif kind not in _STATES:
            rest = self._rest.get(kind)
            self._rest[kind] = event if rest is None else rest + event

    def _begin(self) -> None:
        if self.due == math.inf:
            self.due = time.monotonic() + self._second

    def tick(self) -> None:
        """If the second is over, pass on its sums, and begin a new one."""
        if time.monotonic() >= self.due:
            self.flush()

    def flush(self) -> None:
        """Pass on all sums; also at the end."""
        with self._lock:
            if messages := self._messages():
                self._rest[Kind.RECEIVED] = messages
            rest, self._rest, self._reported = self._rest, {}, {}
            self.quota, self.due = A_SECOND, math.inf
            for event in rest.values():
                self._give(event)

    def _messages(self) -> Event | None:
        """The sum of messages that are not reported; their peers are named if they were before."""
        count = total = others = 0
        peers = []
        for connection in self.fresh:
            count += connection.messages - connection.reported
            total += connection.bytes - connection.reported_bytes
            connection.reported, connection.reported_bytes = connection.messages, connection.bytes
            if connection in self._named:
                peers.append(connection.peer)
            else:
                others += 1
        self.fresh.clear()
        self._named.clear()
        rest = self._rest.get(Kind.RECEIVED)  # reported by other processes, in the writer
        if not count:
            return rest
        event = Event(Kind.RECEIVED, tuple(peers), others, count, count, total)
        return event if rest is None else rest + event

    def _give(self, event: Event) -> None:
        if self._hand is not None:
            self._hand(event)
