"""One call as a value: its arguments, its result, and the socket's state just after it."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """The state of one socket, as the kernel reports it to the process that holds it."""

    state: str  # of TCP, as RFC 9293 names it (3.3.2): TCP_INFO of tcp(7)
    unread: int | None = None  # received bytes that are not read yet: SIOCINQ
    # Written bytes that are not acknowledged yet: SIOCOUTQ, without the FIN, which it counts as
    # one.
    unsent: int | None = None
    queue: int | None = None  # of a listener: connections in the accept queue
    # The length of that queue: the backlog of listen(2), at most net.core.somaxconn.
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the kernel's table of sockets: one end of a connection, or a listener.

    No process needs to hold it: it may not be accepted yet, or be closed already.
    """

    local: str  # host:port
    remote: str
    state: str
    unsent: int
    unread: int  # of a listener: connections in the accept queue
    inode: int  # 0: no descriptor is open on it


@dataclass(frozen=True, slots=True)
class Record:
    """A TLS record (RFC 8446, 5.1) with what is in it, as the end that wrote it knows.

    *name* is written as in RFC 8446, figure 1: {Certificate} is encrypted with the handshake's
    keys, [Application Data] with those of the data.
    """

    name: str
    size: int  # bytes on the wire, header included


@dataclass(frozen=True, slots=True)
class Row:
    """Times are nanoseconds of CLOCK_MONOTONIC, which all processes share."""

    name: str  # the function, as C knows it
    arguments: tuple[str, ...]  # as C writes them
    returned: int | None = None  # None: it never returned
    error: str | None = None  # errno's name, or getaddrinfo's
    gave: str = ""  # what it stored through a pointer
    began: int = 0
    ended: int = 0
    # Its whole duration if the thread slept in it, else 0.
    waited: int = 0
    process: int = 0
    thread: int = 0
    part: str = ""  # of a scene: "server", "client", "client 2", "child"
    fd: int | None = None  # of the call's socket
    inode: int = 0  # the kernel's number for that socket, the same in every process
    before: View | None = None  # of a close: the state before it; after it there is none
    view: View | None = None
    table: tuple[Entry, ...] | None = None  # in a scene: all sockets on its port; None: unknown
    looked: int = 0  # when the table was read
    # In a scene: the sockets that this process has open: (descriptor, inode).
    holds: tuple[tuple[int, int], ...] = ()
    note: str = ""  # in a scene: the key of a sentence about this one call
    records: tuple[Record, ...] = ()  # of a write over TLS: the records in it

    @property
    def failed(self) -> bool:
        return self.error is not None

    @property
    def call(self) -> str:
        """accept(3, &addr)"""
        return f"{self.name}({', '.join(self.arguments)})"

    @property
    def result(self) -> str:
        """The result: "= 4", "= -1 EADDRINUSE", "= 6 "hello\\n""; empty if it never returned."""
        if self.returned is None:
            return ""
        result = "= " + " ".join(filter(None, (str(self.returned), self.error)))
        return f"{result}  {self.gave}" if self.gave else result

    def to_json(self) -> dict[str, typing.Any]:
        return dataclasses.asdict(self) | {"call": self.call, "result": self.result}

    @staticmethod
    def from_json(found: dict[str, typing.Any]) -> Row:
        kept = {field.name: found[field.name] for field in dataclasses.fields(Row)}
        for name in ("before", "view"):
            kept[name] = kept[name] and View(**kept[name])
        kept["arguments"] = tuple(kept["arguments"])
        if kept["table"] is not None:
            kept["table"] = tuple(Entry(**each) for each in kept["table"])
        kept["records"] = tuple(Record(**each) for each in kept["records"])
        kept["holds"] = tuple((fd, inode) for fd, inode in kept["holds"])
        return Row(**kept)
