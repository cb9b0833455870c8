"""What happened, as values; summed up where it happened too often to be read.

A person reads single messages; nobody reads 100,000 a second. Of each kind of event the first ten
of a second are handed on one by one, the rest as one event that stands for them all. Event is made
for that: one event is a sum of one, and two of a kind can be added. So the same few lines serve
twice: in each process that has events to tell, and in the one process that writes them all
(writer.py).

Events never waits: it hands on to something that takes the event or loses it, and counts what was
lost.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .address import Address
from .wire.protocol import Connection


class Kind(enum.StrEnum):
    LISTENING = "listening"
    CONNECTED = "connected"
    RECEIVED = "received"
    CLOSED = "closed"
    FAILED = "failed"  # a connection that ended in an error
    REFUSED = "refused"  # a connection that our rules do not admit
    CUT = "cut"  # connections that were reset at the drain limit
    WAITING = "waiting"  # clients wait in the backlog, since no more can be served
    PAUSED = "paused"  # accept found no descriptor or memory
    LIES = "lies"  # a far end that lies on purpose has done so
    NOTICE = "notice"  # anything else that is worth a line
    DROPPED = "dropped"  # events that nobody took


_ABOUT_CONNECTIONS = frozenset({Kind.CONNECTED, Kind.CLOSED, Kind.FAILED, Kind.REFUSED})
# Rather than events: said once a second while they last, never summed.
_STATES = frozenset({Kind.WAITING, Kind.PAUSED})
_IN_FULL = frozenset({Kind.LISTENING, Kind.NOTICE, Kind.DROPPED})
A_SECOND = 10
_QUOTA = {Kind.WAITING: 1, Kind.PAUSED: 1, Kind.CUT: 0}  # told in a second, where it is not that


@dataclass(frozen=True, slots=True)
class Event:
    """*count* events of one *kind*, about the *peers* named and *others* that are not."""

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
    """One process's events on their way to *hand*, which must not wait. Any thread may tell.

    *second* is how long one lasts here. *due* is when tick() wants to be called, a time of
    time.monotonic(): whoever waits, waits no longer than that. *quota* is how many more messages of
    this second are told one by one; an engine whose one thread is the only one may count a message
    itself while it is 0 (engines/event.py).
    """

    def __init__(
        self,
        hand: Callable[[Event], None] | None = None,
        *,
        verbose: bool = False,
        second: float = 1.0,
    ) -> None:
        self._hand = hand
        self._verbose = verbose
        self._second = second
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget what is not handed on yet: in a forked child it is the parent's to tell."""
        self.due = math.inf
        self.quota = A_SECOND
        self.fresh: list[Connection] = []  # have messages that are neither told nor summed up
        self._named: list[Connection] = []  # have a message that was told in this second
        self._reported: dict[Kind, int] = {}
        self._rest: dict[Kind, Event] = {}

    def report(self, event: Event) -> None:
        with self._lock:
            self._report(event)

    def connected(self, connection: Connection) -> None:
        self.report(Event(Kind.CONNECTED, (connection.peer,)))

    def received(self, connection: Connection, n: int) -> None:
        """One message of *n* bytes came on *connection*: counted on it, told or summed up."""
        with self._lock:
            if self.quota:
                self._message(connection, n)
                return
            if connection.messages == connection.reported:
                self.fresh.append(connection)
            connection.messages += 1
            connection.bytes += n

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
        """If the second is over, hand on what it left, and begin anew."""
        if time.monotonic() >= self.due:
            self.flush()

    def flush(self) -> None:
        """Hand on everything that is summed up; also at the end."""
        with self._lock:
            if messages := self._messages():
                self._rest[Kind.RECEIVED] = messages
            rest, self._rest, self._reported = self._rest, {}, {}
            self.quota, self.due = A_SECOND, math.inf
            for event in rest.values():
                self._give(event)

    def _messages(self) -> Event | None:
        """The messages that came and were not told, and from how many connections: named if they
        were named before.
        """
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
        rest = self._rest.get(Kind.RECEIVED)  # what other processes told, in the one that writes
        if not count:
            return rest
        event = Event(Kind.RECEIVED, tuple(peers), others, count, count, total)
        return event if rest is None else rest + event

    def _give(self, event: Event) -> None:
        if self._hand is not None:
            self._hand(event)
