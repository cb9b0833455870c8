"""The steps of a scene in one order, each with the state of every connection just after it and the
segments that must have crossed the network.

No packet is captured. That a segment has crossed follows from the state that the kernel reports
afterwards:

    SYN, SYN ACK, ACK   a connect has returned 0
    data                the other kernel has the bytes (read, or in its queue) or has acknowledged
                        them
    FIN                 the other end is in CLOSE_WAIT, TIME_WAIT or a state between
    RST                 an end is gone, and no call closed it

Acknowledgements are not shown, except the handshake's.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field

from . import facts
from .row import Entry, Record, Row
from .stage import Step
from .table import WITH_FIN

CLIENT, SERVER = "client", "server"
# States of an end that has received the other's FIN.
_HAVE_FIN = frozenset({"CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT"})
# States that end only by a reset or by a call of the end itself.
_ENDED_BY_RESET = frozenset({"ESTABLISHED", "CLOSE_WAIT", "SYN_SENT"})
_OWN_DOING = frozenset({"close", "exit", "killed"})
_READS, _WRITES = frozenset({"recv", "read"}), frozenset({"send", "write"})


@dataclass(frozen=True, slots=True)
class Segment:
    """From the end *source* to the other: SYN, SYN ACK, ACK, FIN, RST or data of *size* bytes."""

    source: str
    kind: str
    size: int = 0
    name: str = CLIENT  # of the connection


@dataclass(slots=True)
class End:
    """One end of a connection in the kernel's table; *state* is None if it is not in the table."""

    state: str | None = None
    unread: int = 0  # bytes
    unsent: int = 0
    held: bool = False  # a descriptor is open on it


@dataclass(slots=True)
class Ends:
    """A connection. *name* is the part that connected: "client", "client 2"."""

    name: str
    client: End = field(default_factory=End)
    server: End = field(default_factory=End)

    def side(self, name: str) -> End:
        return self.client if name == CLIENT else self.server


@dataclass(frozen=True, slots=True)
class Moment:
    """A step with all that a report shows of it. *at*: nanoseconds since the first step."""

    number: int
    at: int
    row: Row
    waits: bool
    side: str
    segments: tuple[Segment, ...]
    ends: tuple[Ends, ...]
    changed: tuple[str, ...]  # names of the connections whose state has changed
    queue: tuple[int, int] | None  # of the listener: connections in its accept queue, its length
    # The key of the sentence about this call when it first appears; else "".
    explained: str
    note: str  # the key of the scene's sentence about this step
    records: tuple[Record, ...]  # over TLS: those written, or read completely, by the call

    def to_json(self) -> dict[str, typing.Any]:
        return {
            "number": self.number,
            "at_ns": self.at,
            "waits": self.waits,
            "side": self.side,
            "segments": [dataclasses.asdict(segment) for segment in self.segments],
            "connections": [dataclasses.asdict(ends) for ends in self.ends],
            "queue": self.queue,
            **self.row.to_json(),
            "records": [dataclasses.asdict(record) for record in self.records],
        }


class Timeline:
    """Makes a Moment of each step of one scene, played on *port*."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._began: int | None = None
        self._number = 0
        self._said: set[str] = set()
        # Processes that are blocked and whose note has been shown.
        self._noted: set[int] = set()
        self._names: dict[str, str] = {}  # the client's address -> the part that connected
        # A socket's inode -> the client's address of its connection.
        self._connection: dict[int, str] = {}
        self._ends: dict[str, Ends] = {}  # by the client's address
        # Bytes by (client's address, side, "read" or "crossed").
        self._counts: dict[tuple[str, str, str], int] = {}
        self._written: dict[tuple[str, str], int] = {}
        self._asked: dict[tuple[str, str], int] = {}  # by a write that has not returned
        # Records on their way to a side: (client's address, side), each with the place in its
        # stream at which it ends.
        self._records: dict[tuple[str, str], list[tuple[int, Record]]] = {}
        self._looked = 0  # when the newest table was read

    def take(self, step: Step) -> Moment:
        row = step.row
        self._began = row.began if self._began is None else self._began
        self._number += 1
        side = row.part.split()[0] if row.part else SERVER
        moment = row.began if step.waits or not row.waited else row.ended
        if (
            step.waits
            and row.name in _WRITES
            and (address := self._connection.get(row.inode)) is not None
        ):
            self._asked[address, side] = int(row.arguments[2])
        # There is no table, or an older one.
        if row.table is None or row.looked < self._looked:
            self._count(row, side)
            return self._moment(step, moment, side, self._handshake(row), ())
        self._looked = row.looked
        before = {address: _copy(ends) for address, ends in self._ends.items()}
        self._look(row)
        self._count(row, side)
        segments = (*self._handshake(row), *self._crossed(), *self._endings(row, side, before))
        changed = tuple(
            ends.name for address, ends in self._ends.items() if before.get(address) != ends
        )
        result = self._moment(step, moment, side, segments, changed)
        for address in [
            address
            for address, ends in self._ends.items()
            if ends.client.state is None and ends.server.state is None
        ]:
            del self._ends[address]
        return result

    def _moment(
        self,
        step: Step,
        at: int,
        side: str,
        segments: tuple[Segment, ...],
        changed: tuple[str, ...],
    ) -> Moment:
        listeners = [entry for entry in step.row.table or () if entry.state == "LISTEN"]
        queue = (listeners[0].unread, listeners[0].unsent) if listeners else None
        ends = tuple(_copy(ends) for ends in self._ends.values())
        began = self._began if self._began is not None else at
        return Moment(
            self._number,
            at - began,
            step.row,
            step.waits,
            side,
            segments,
            ends,
            changed,
            queue,
            self._report(step.row),
            self._note(step),
            () if step.waits else self._recorded(step.row, side),
        )

    def _recorded(self, row: Row, side: str) -> tuple[Record, ...]:
        """The records that *row* has written, or has read completely.

        Those of a read follow from the count of bytes and the records that the other side wrote.
        """
        address = self._connection.get(row.inode, "")
        other = SERVER if side == CLIENT else CLIENT
        if row.records:
            ahead = self._records.setdefault((address, other), [])
            at = self._written.get((address, side), 0) - (row.returned or 0)
            for record in row.records:
                at += record.size
                ahead.append((at, record))
            return row.records
        ahead = self._records.get((address, side), [])
        read = self._counts.get((address, side, "read"), 0)
        found = [record for at, record in ahead if at <= read]
        del ahead[: len(found)]
        return tuple(found)

    def _report(self, row: Row) -> str:
        key = facts.saying(row)
        if key in self._said:
            return ""
        self._said.add(key)
        return key

    def _note(self, step: Step) -> str:
        """A note about a wait is shown when it begins; any other when the call has returned."""
        note, process = step.row.note, step.row.process
        if step.waits and note.startswith("for-"):
            self._noted.add(process)
            return note
        if step.waits or process in self._noted:
            self._noted.discard(process)
            return ""
        return note

    # The ends

    def _look(self, row: Row) -> None:
        """Take over the table that was read just after *row*."""
        for ends in self._ends.values():
            ends.client, ends.server = End(), End()
        for entry in row.table or ():
            if entry.state == "LISTEN" or entry.remote.endswith(":0"):
                continue
            is_server = entry.local.endswith(f":{self._port}")
            address = entry.remote if is_server else entry.local
            if not is_server and row.name == "connect" and entry.inode and entry.inode == row.inode:
                self._names[address] = row.part
            if entry.inode:
                self._connection[entry.inode] = address
            ends = self._ends.setdefault(address, Ends(self._names.get(address, CLIENT)))
            ends.name = self._names.get(address, ends.name)
            end = _end(entry)
            if is_server:
                ends.server = end
            else:
                ends.client = end

    def _count(self, row: Row, side: str) -> None:
        address = self._connection.get(row.inode)
        if address is None or row.returned is None:
            return
        if row.name in _WRITES:
            self._asked.pop((address, side), None)
        if row.returned <= 0:
            return
        if row.name in _WRITES:
            self._written[address, side] = self._written.get((address, side), 0) + row.returned
        elif row.name in _READS and "MSG_PEEK" not in row.call:
            key = (address, side, "read")
            self._counts[key] = self._counts.get(key, 0) + row.returned

    def _handshake(self, row: Row) -> tuple[Segment, ...]:
        if row.name != "connect" or row.returned is None:
            return ()
        syn = Segment(CLIENT, "SYN", name=row.part)
        if row.error == "ECONNREFUSED":
            return (syn, Segment(SERVER, "RST", name=row.part))
        if row.failed:
            return (syn,)
        return (
            syn,
            Segment(SERVER, "SYN ACK", name=row.part),
            Segment(CLIENT, "ACK", name=row.part),
        )

    def _crossed(self) -> tuple[Segment, ...]:
        """The data segments since the last step: bytes that the other kernel has by now."""
        found = []
        for address, ends in self._ends.items():
            for source, target in ((CLIENT, SERVER), (SERVER, CLIENT)):
                written = self._written.get((address, source), 0)
                here, there = ends.side(source), ends.side(target)
                has = self._counts.get((address, target, "read"), 0) + there.unread
                under_way = self._asked.get((address, source), 0)
                if here.state is not None and not under_way:
                    has = max(has, written - here.unsent)
                has = min(has, written + under_way)
                key = (address, source, "crossed")
                if has > self._counts.get(key, 0):
                    found.append(Segment(source, "data", has - self._counts.get(key, 0), ends.name))
                    self._counts[key] = has
        return tuple(found)

    def _endings(self, row: Row, side: str, before: dict[str, Ends]) -> tuple[Segment, ...]:
        found = []
        for address, ends in self._ends.items():
            was = before.get(address)
            if was is None:
                continue
            for source, target in ((CLIENT, SERVER), (SERVER, CLIENT)):
                old, new = was.side(target).state, ends.side(target).state
                if new in _HAVE_FIN and old is not None and old not in _HAVE_FIN:
                    found.append(Segment(source, "FIN", name=ends.name))
                own = row.name in _OWN_DOING and side == target
                if new is None and old in _ENDED_BY_RESET and not own:
                    # The reset answers the bytes of this write.
                    if row.name in _WRITES and side == target and row.returned and row.returned > 0:
                        found.append(Segment(target, "data", row.returned, ends.name))
                    found.append(Segment(source, "RST", name=ends.name))
        return tuple(found)


def _copy(ends: Ends) -> Ends:
    return dataclasses.replace(
        ends, client=dataclasses.replace(ends.client), server=dataclasses.replace(ends.server)
    )


def _end(entry: Entry) -> End:
    """The table counts a FIN as a byte in both queues; End does not."""
    came = entry.state in _HAVE_FIN and entry.unread > 0
    went = entry.state in WITH_FIN and entry.unsent > 0
    return End(entry.state, entry.unread - came, entry.unsent - went, entry.inode != 0)
