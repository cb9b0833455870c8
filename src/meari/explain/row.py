"""A call that was made: what was asked, what it returned, and what the kernel said just after."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """What the kernel says of one socket, to who holds it."""

    state: str  # of TCP, as RFC 9293 names it (3.3.2): TCP_INFO of tcp(7)
    unread: int | None = None  # bytes that came and are not read: SIOCINQ
    # Bytes that were written and are not acknowledged: SIOCOUTQ, without the FIN that it counts as
    # one.
    unsent: int | None = None
    queue: int | None = None  # of a listener: how many connections wait to be accepted
    # And how many may: the backlog of listen(2), net.core.somaxconn at the most.
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the kernel's own table: one end of a connection, or a listener, whichever process
    holds it, or nobody yet or any more.
    """

    local: str  # host:port
    remote: str
    state: str
    unsent: int
    unread: int  # of a listener: how many connections wait to be accepted
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
    """Times are nanoseconds of CLOCK_MONOTONIC, which is one for all processes."""

    name: str  # the function, as C knows it
    arguments: tuple[str, ...]  # as C writes them
    returned: int | None = None  # None: it never came back
    error: str | None = None  # errno's name, or getaddrinfo's
    gave: str = ""  # what came through a pointer
    began: int = 0
    ended: int = 0
    # How long it blocked: all of the time that it took, if the thread slept in it, else 0.
    waited: int = 0
    process: int = 0
    thread: int = 0
    part: str = ""  # of a scene: "server", "client", "client 2", "child"
    fd: int | None = None  # the socket that it is about
    inode: int = 0  # and the kernel's number for it, the same in every process that holds it
    before: View | None = None  # of a close: what was, since after it there is nothing to ask
    view: View | None = None
    table: tuple[Entry, ...] | None = None  # in a scene: every end on its port; None: not known
    looked: int = 0  # when that was asked for
    # In a scene: the sockets that this process has open: (descriptor, inode).
    holds: tuple[tuple[int, int], ...] = ()
    note: str = ""  # in a scene: what is to be said of it beside what is said of every such call
    records: tuple[Record, ...] = ()  # of a write, over TLS: what it carries

    @property
    def failed(self) -> bool:
        return self.error is not None

    @property
    def call(self) -> str:
        """accept(3, &addr)"""
        return f"{self.name}({', '.join(self.arguments)})"

    @property
    def result(self) -> str:
        """What it returned: "= 4", "= -1 EADDRINUSE", "= 6 "hello\\n""; empty if it did not."""
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
